// The program passt(1), which carries a guest's packets with a user's own sockets, as a process of
// ours: for one guest, on one end of a socket pair.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace hull::virtio {

class Passt {
 public:
  // `arguments`: without the program's name and what has to do with its socket and its messages. It
  // is found in PATH, and gets no descriptor of ours but its own. kHost: it is not installed, or
  // the host refuses processes.
  static Result<Passt> start(const std::vector<std::string>& arguments);
  Passt(Passt&& other) noexcept;
  Passt& operator=(Passt&&) = delete;
  Passt(const Passt&) = delete;
  ~Passt();  // ends it, and waits for that

  // Our end of its socket; once.
  UniqueFd take_socket() { return std::move(socket_); }
  // Readable when it has ended.
  int process_fd() const { return process_.get(); }
  // The last of what it has said on its standard error, on one line and at most kMaxWordsBytes;
  // without its chatter.
  std::string last_words();

 private:
  static constexpr size_t kMaxWordsBytes = 512;
  Passt() = default;

  UniqueFd socket_;
  UniqueFd messages_;
  UniqueFd process_;  // its pidfd
  std::string words_;
};

}  // namespace hull::virtio
