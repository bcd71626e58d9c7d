// Whole transfers over a stream socket, and strings of wire structs: what both ends of NBD need.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/unique_fd.h"
#include "blockcore/engine/io_engine.h"

namespace hull::blockcore::nbd {

// Borrows engine and socket. One reader and one writer at a time. All errors are kIo.
class Stream {
 public:
  Stream(IoEngine& engine, int socket) : engine_(engine), socket_(socket) {}

  int socket() const { return socket_; }
  // So far: whether the other end does anything shows here.
  uint64_t received_bytes() const { return received_bytes_; }
  uint64_t moved_bytes() const { return received_bytes_ + sent_bytes_; }

  // All of `data`. The end of the stream is an error.
  Task<Result<void>> receive(std::span<std::byte> data);
  template <class T>
  Task<Result<void>> receive(T& message) {
    static_assert(std::is_trivially_copyable_v<T>);
    return receive(std::as_writable_bytes(std::span(&message, 1)));
  }
  // At least one byte and at most data.size(); 0: the stream has ended.
  Task<Result<size_t>> receive_some(std::span<std::byte> data);

  Task<Result<void>> send(std::span<const iovec> buffers);
  Task<Result<void>> send(std::string message);

 private:
  IoEngine& engine_;
  const int socket_;
  uint64_t received_bytes_ = 0;
  uint64_t sent_bytes_ = 0;
};

// What is received in larger pieces than it is wanted: one call brings many short messages. Borrows
// the stream.
class InputBuffer {
 public:
  explicit InputBuffer(Stream& stream) : stream_(stream) {}

  // All of `data`; the end of the stream is an error.
  Task<Result<void>> take(std::span<std::byte> data);
  // Into [offset, offset + length) of the list.
  Task<Result<void>> take(std::span<const iovec> buffers, uint64_t offset, uint64_t length);
  Task<Result<void>> skip(uint64_t length);

 private:
  Stream& stream_;
  std::array<std::byte, 16 << 10> bytes_;
  size_t begin_ = 0;
  size_t end_ = 0;
};

template <class T>
void append_bytes(std::string& message, const T& part) {
  static_assert(std::is_trivially_copyable_v<T>);
  message.append(reinterpret_cast<const char*>(&part), sizeof part);
}

// Takes fields off the front of a message; false when there are not enough bytes.
class MessageReader {
 public:
  explicit MessageReader(std::string_view message) : rest_(message) {}
  template <class T>
  bool read(T& field) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (rest_.size() < sizeof field) return false;
    rest_.copy(reinterpret_cast<char*>(&field), sizeof field);
    rest_.remove_prefix(sizeof field);
    return true;
  }
  // 32 bits of length, then the string.
  bool read_string(std::string_view& text);
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

}  // namespace hull::blockcore::nbd
