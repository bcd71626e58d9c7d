// hull img and qemu-img on the same files, for tests of the verbs.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/qcow2_images.h"
#include "tests/support/temporary_directory.h"
#include "tools/hull/img.h"

namespace hull::testing {

class ImgFixture : public ::testing::Test {
 protected:
  struct Outcome {
    int exit_code;
    std::string output;
    bool operator==(const Outcome&) const = default;
  };

  // The words, with "@" for the test's directory.
  std::vector<std::string> words(const std::string& line) const {
    std::vector<std::string> result;
    std::string word;
    for (const char c : line + " ") {
      if (c == '@') {
        word += directory_.path() + "/";
      } else if (c != ' ') {
        word += c;
      } else if (!word.empty()) {
        result.push_back(std::exchange(word, {}));
      }
    }
    return result;
  }
  Outcome hull_img(const std::string& line) const {
    std::vector<std::string> parts = words(line);
    std::vector<char*> arguments;
    for (std::string& part : parts) arguments.push_back(part.data());
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    const int exit_code = cli::img_verb(arguments);
    std::fflush(stdout);
    ::testing::internal::GetCapturedStderr();
    return {exit_code, ::testing::internal::GetCapturedStdout()};
  }
  Outcome qemu_img(const std::string& line) const {
    std::string command = "qemu-img";
    for (const std::string& part : words(line)) command += " '" + part + "'";
    const auto result = run_command("(" + command + " 2>/dev/null)");
    return {result.exit_code, result.output};
  }
  void expect_same(const std::string& line) const {
    const Outcome ours = hull_img(line);
    const Outcome theirs = qemu_img(line);
    EXPECT_EQ(ours.exit_code, theirs.exit_code) << line;
    EXPECT_EQ(ours.output, theirs.output) << line;
  }
  void expect_same_json(const std::string& line) const {
    const Outcome ours = hull_img(line);
    const Outcome theirs = qemu_img(line);
    EXPECT_EQ(ours.exit_code, theirs.exit_code) << line;
    EXPECT_EQ(nlohmann::json::parse(ours.output), nlohmann::json::parse(theirs.output)) << line;
  }

  const TemporaryDirectory directory_;
};

}  // namespace hull::testing
