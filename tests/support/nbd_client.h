// A client that says on an NBD connection exactly what the test tells it to, blocking.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "blockcore/nbd/protocol.h"
#include "blockcore/nbd/stream.h"

namespace hull::testing {

class NbdClient {
 public:
  explicit NbdClient(UniqueFd socket) : socket_(std::move(socket)) {}

  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }
  template <class T>
  bool send_message(const T& message) {
    std::string bytes;
    blockcore::nbd::append_bytes(bytes, message);
    return send(bytes);
  }

  // Fewer bytes than asked for only at the end of the connection.
  std::string receive(size_t count) {
    std::string bytes(count, '\0');
    size_t done = 0;
    while (done < count) {
      const ssize_t got = ::read(socket_.get(), bytes.data() + done, count - done);
      if (got <= 0) break;
      done += static_cast<size_t>(got);
    }
    bytes.resize(done);
    return bytes;
  }
  template <class T>
  std::optional<T> receive_message() {
    const std::string bytes = receive(sizeof(T));
    if (bytes.size() < sizeof(T)) return std::nullopt;
    T message;
    std::memcpy(&message, bytes.data(), sizeof message);
    return message;
  }
  // Reads up to the end of the connection; how many bytes that were.
  size_t wait_for_end() {
    size_t count = 0;
    char bytes[4096];
    ssize_t got;
    while ((got = ::read(socket_.get(), bytes, sizeof bytes)) > 0)
      count += static_cast<size_t>(got);
    return count;
  }
  void shut_down_writing() { ::shutdown(socket_.get(), SHUT_WR); }
  void close() { socket_.reset(); }

  bool greet(uint32_t flags = blockcore::nbd::kFixedNewstyle | blockcore::nbd::kNoZeroes) {
    return receive_message<blockcore::nbd::ServerHello>().has_value() && send_message(Be32(flags));
  }

  struct OptionAnswer {
    blockcore::nbd::OptionReply type;
    std::string data;
  };
  void send_option(blockcore::nbd::Option option, std::string_view data = {}) {
    send_message(blockcore::nbd::OptionHeader{blockcore::nbd::kOptionMagic,
                                              static_cast<uint32_t>(option),
                                              static_cast<uint32_t>(data.size())});
    send(data);
  }
  std::optional<OptionAnswer> receive_answer() {
    const auto header = receive_message<blockcore::nbd::OptionReplyHeader>();
    if (!header) return std::nullopt;
    return OptionAnswer{static_cast<blockcore::nbd::OptionReply>(header->type.get()),
                        receive(header->length)};
  }
  // Sends an option and reads up to the last answer, which it returns.
  std::optional<OptionAnswer> ask(blockcore::nbd::Option option, std::string_view data = {}) {
    send_option(option, data);
    for (;;) {
      auto answer = receive_answer();
      if (!answer || answer->type == blockcore::nbd::OptionReply::kAck ||
          (static_cast<uint32_t>(answer->type) & blockcore::nbd::kOptionReplyErrorBit) != 0)
        return answer;
      infos.push_back(*std::move(answer));
    }
  }
  // To the transmission phase of the default export.
  bool go(bool structured) {
    if (!greet()) return false;
    if (structured) (void)ask(blockcore::nbd::Option::kStructuredReply);
    return go_only();
  }
  bool go_only() {
    const auto answer = ask(blockcore::nbd::Option::kGo, std::string(6, '\0'));
    return answer && answer->type == blockcore::nbd::OptionReply::kAck;
  }

  void request(blockcore::nbd::Command command, uint64_t offset, uint32_t length,
               uint16_t flags = 0, uint64_t cookie = 77) {
    send_message(blockcore::nbd::RequestHeader{blockcore::nbd::kRequestMagic, flags,
                                               static_cast<uint16_t>(command), cookie, offset,
                                               length});
  }
  // The error of a simple reply; nullopt: anything else.
  std::optional<uint32_t> simple_reply(uint64_t cookie = 77) {
    const auto reply = receive_message<blockcore::nbd::SimpleReplyHeader>();
    if (!reply || reply->magic != blockcore::nbd::kSimpleReplyMagic || reply->cookie != cookie)
      return std::nullopt;
    return reply->error.get();
  }
  struct ReplyChunk {
    blockcore::nbd::Chunk type;
    bool last;
    std::string payload;
  };
  std::optional<ReplyChunk> chunk(uint64_t cookie = 77) {
    const auto header = receive_message<blockcore::nbd::ChunkHeader>();
    if (!header || header->magic != blockcore::nbd::kStructuredReplyMagic ||
        header->cookie != cookie)
      return std::nullopt;
    return ReplyChunk{static_cast<blockcore::nbd::Chunk>(header->type.get()),
                      (header->flags & blockcore::nbd::kChunkDone) != 0, receive(header->length)};
  }
  // The error number of an error chunk; nullopt: anything else.
  std::optional<uint32_t> error_chunk() {
    const auto error = chunk();
    if (!error || error->type != blockcore::nbd::Chunk::kError || error->payload.size() < 6)
      return std::nullopt;
    Be32 number;
    std::memcpy(&number, error->payload.data(), sizeof number);
    return number.get();
  }

  std::vector<OptionAnswer> infos;  // what ask() read before the last answer

 private:
  UniqueFd socket_;
};

}  // namespace hull::testing
