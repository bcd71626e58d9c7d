// A dictionary of libFuzzer's, made of words that the program itself knows.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <set>
#include <string>
#include <vector>

#include "base/check.h"

namespace hull::fuzz {

// Adds "-dict=…" to the fuzzer's arguments; for LLVMFuzzerInitialize(), which comes before they are
// read. The words are printable and hold neither quotes nor backslashes.
inline void use_dictionary(const std::set<std::string>& words, int* argc, char*** argv) {
  std::string text;
  for (const std::string& word : words) text += "\"" + word + "\"\n";
  const int fd = ::memfd_create("dictionary", 0);  // stays open as long as the fuzzer runs
  CHECK(fd >= 0);
  CHECK(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  static std::string option = "-dict=/proc/self/fd/" + std::to_string(fd);
  static std::string name = (*argv)[0];
  static std::vector<char*> arguments = {name.data(), option.data()};
  for (int i = 1; i < *argc; ++i) arguments.push_back((*argv)[i]);
  arguments.push_back(nullptr);
  *argc = static_cast<int>(arguments.size()) - 1;
  *argv = arguments.data();
}

}  // namespace hull::fuzz
