// The server's side of the fixed newstyle handshake (doc/proto.md, "Handshake").
//
// Everything a client sends is bounded: the number of options, the length of each, the answers. How
// long it takes is the server's business: it shuts the socket down at a deadline.
#pragma once

#include <optional>
#include <vector>

#include "blockcore/nbd/export.h"
#include "blockcore/nbd/stream.h"

namespace hull::blockcore::nbd {

// What was agreed upon.
struct Negotiated {
  bool structured_replies = false;
  std::vector<uint32_t> contexts;  // indices into Export::contexts; also their ids on the wire
};

class ServerHandshake {
 public:
  ServerHandshake(Stream& stream, const Export& offer, Admission admission)
      : stream_(stream), export_(offer), admission_(admission) {}

  // nullopt: the client does not want to go on. An error: it is to be dropped.
  Task<Result<std::optional<Negotiated>>> run();

 private:
  enum class Next : uint8_t { kOption, kTransmission, kEnd };

  Task<Result<void>> greet();
  Task<Result<Next>> serve_option();
  Task<Result<Next>> answer(Option option, std::string data);
  Task<Result<Next>> choose_by_name(std::string_view name);
  // Append the messages that answer an option; info() says whether the export is chosen.
  bool info(Option option, std::string_view data, std::string& reply) const;
  void list(std::string_view data, std::string& reply) const;
  void structured(std::string_view data, std::string& reply);
  void meta_contexts(Option option, std::string_view data, std::string& reply);
  std::optional<std::vector<uint32_t>> select_contexts(Option option,
                                                       std::string_view queries) const;
  uint16_t transmission_flags() const;

  Stream& stream_;
  const Export& export_;
  const Admission admission_;
  bool fixed_newstyle_ = false;
  bool no_zeroes_ = false;
  Negotiated negotiated_;
};

}  // namespace hull::blockcore::nbd
