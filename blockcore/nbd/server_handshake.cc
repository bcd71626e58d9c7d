#include "blockcore/nbd/server_handshake.h"

#include <algorithm>
#include <array>

namespace hull::blockcore::nbd {

namespace {

// Clients need about six.
constexpr unsigned kMaxOptions = 256;
constexpr uint32_t kPreferredBlockBytes = 4096;
constexpr std::string_view kNoPlace = "all places are taken: try again later, or see --shared";

void append_reply(std::string& messages, Option option, OptionReply type,
                  std::string_view data = {}) {
  append_bytes(messages,
               OptionReplyHeader{kOptionReplyMagic, static_cast<uint32_t>(option),
                                 static_cast<uint32_t>(type), static_cast<uint32_t>(data.size())});
  messages += data;
}

// A context that stands for `query`: the whole name, or when listing also the part up to a colon
// ("base:", "qemu:", "qemu:dirty-bitmap:").
bool matches(Option option, std::string_view query, std::string_view context) {
  if (query == context) return true;
  return option == Option::kListMetaContext && query.ends_with(':') && context.starts_with(query);
}

}  // namespace

Task<Result<std::optional<Negotiated>>> ServerHandshake::run() {
  CO_TRY_VOID(co_await greet());
  for (unsigned count = 0; count < kMaxOptions; ++count) {
    CO_TRY(const Next next, co_await serve_option());
    if (next == Next::kEnd) co_return std::nullopt;
    if (next == Next::kTransmission) co_return std::move(negotiated_);
  }
  co_return fail(ErrorKind::kOutOfRange, "the client sends options without end");
}

Task<Result<void>> ServerHandshake::greet() {
  std::string hello;
  append_bytes(hello, ServerHello{kInitMagic, kOptionMagic,
                                  static_cast<uint16_t>(kFixedNewstyle | kNoZeroes)});
  CO_TRY_VOID(co_await stream_.send(std::move(hello)));
  Be32 flags;
  CO_TRY_VOID(co_await stream_.receive(flags));
  // "the server MUST drop the TCP connection if the client sets an unknown flag"
  if ((flags & ~uint32_t{kFixedNewstyle | kNoZeroes}) != 0)
    co_return fail(ErrorKind::kInvalidFormat, "unknown client flags {:#x}", flags.get());
  fixed_newstyle_ = (flags & kFixedNewstyle) != 0;
  no_zeroes_ = (flags & kNoZeroes) != 0;
  co_return {};
}

Task<Result<ServerHandshake::Next>> ServerHandshake::serve_option() {
  OptionHeader header;
  CO_TRY_VOID(co_await stream_.receive(header));
  if (header.magic != kOptionMagic)
    co_return fail(ErrorKind::kInvalidFormat, "an option with wrong magic");
  if (header.length > kMaxOptionBytes)
    co_return fail(ErrorKind::kOutOfRange, "an option of {} bytes", header.length.get());
  std::string data(header.length, '\0');
  CO_TRY_VOID(co_await stream_.receive(std::as_writable_bytes(std::span(data))));
  const auto option = static_cast<Option>(header.option.get());
  // Nothing else is valid in the newstyle handshake that is not fixed.
  if (!fixed_newstyle_ && option != Option::kExportName)
    co_return fail(ErrorKind::kInvalidFormat, "an option before fixed newstyle is agreed upon");
  co_return co_await answer(option, std::move(data));
}

Task<Result<ServerHandshake::Next>> ServerHandshake::answer(Option option, std::string data) {
  if (option == Option::kExportName) co_return co_await choose_by_name(data);
  std::string reply;
  Next next = Next::kOption;
  switch (option) {
    case Option::kAbort:
      append_reply(reply, option, OptionReply::kAck);
      next = Next::kEnd;
      break;
    case Option::kList: list(data, reply); break;
    case Option::kInfo:
    case Option::kGo:
      if (info(option, data, reply) && option == Option::kGo) next = Next::kTransmission;
      break;
    case Option::kStructuredReply: structured(data, reply); break;
    case Option::kListMetaContext:
    case Option::kSetMetaContext: meta_contexts(option, data, reply); break;
    default:
      append_reply(reply, option, OptionReply::kErrUnsupported, "this option is not known here");
  }
  const auto sent = co_await stream_.send(std::move(reply));
  // A client that says goodbye need not wait for the answer.
  if (!sent && next != Next::kEnd) co_return std::unexpected(sent.error());
  co_return next;
}

// There is no way to say no but to hang up.
Task<Result<ServerHandshake::Next>> ServerHandshake::choose_by_name(std::string_view name) {
  if (name != export_.name) co_return fail(ErrorKind::kInvalidConfig, "no export of that name");
  if (admission_ == Admission::kRefused) co_return fail(ErrorKind::kBusy, "{}", kNoPlace);
  std::string reply;
  append_bytes(reply, Be64(export_.disk->size_bytes()));
  append_bytes(reply, Be16(transmission_flags()));
  if (!no_zeroes_) reply.append(kExportNameZeroes, '\0');
  CO_TRY_VOID(co_await stream_.send(std::move(reply)));
  co_return Next::kTransmission;
}

uint16_t ServerHandshake::transmission_flags() const {
  unsigned flags = kHasFlags | kSendFlush | kSendFua | kSendCache;
  if (export_.writable()) {
    flags |= kSendWriteZeroes | kSendFastZero;
    if (export_.disk->can_discard()) flags |= kSendTrim;
  } else {
    flags |= kReadOnly;
  }
  if (export_.multi_conn) flags |= kCanMultiConn;
  if (negotiated_.structured_replies) flags |= kSendDf;
  return static_cast<uint16_t>(flags);
}

bool ServerHandshake::info(Option option, std::string_view data, std::string& reply) const {
  MessageReader reader(data);
  std::string_view name;
  Be16 count;
  if (!reader.read_string(name) || name.size() > kMaxStringBytes || !reader.read(count) ||
      reader.rest().size() != size_t{2} * count) {
    append_reply(reply, option, OptionReply::kErrInvalid, "malformed request");
    return false;
  }
  if (name != export_.name) {
    append_reply(reply, option, OptionReply::kErrUnknown, "no export of that name");
    return false;
  }
  if (admission_ == Admission::kRefused && option == Option::kGo) {
    append_reply(reply, option, OptionReply::kErrPolicy, kNoPlace);
    return false;
  }
  std::array<bool, 4> wanted{};
  for (Be16 kind; reader.read(kind);)
    if (kind < wanted.size()) wanted[kind] = true;
  const auto add_text = [&](uint16_t kind, const std::string& text) {
    std::string message;
    append_bytes(message, Be16(kind));
    append_reply(reply, option, OptionReply::kInfo, message + text);
  };
  if (wanted[kInfoName]) add_text(kInfoName, export_.name);
  if (wanted[kInfoDescription] && !export_.description.empty())
    add_text(kInfoDescription, export_.description);
  std::string message;
  if (wanted[kInfoBlockSize]) {
    append_bytes(message,
                 BlockSizeInfo{kInfoBlockSize, 1U,
                               std::max(kPreferredBlockBytes, export_.disk->alignment_bytes()),
                               kMaxDataBytes});
    append_reply(reply, option, OptionReply::kInfo, message);
    message.clear();
  }
  append_bytes(message, ExportInfo{kInfoExport, export_.disk->size_bytes(), transmission_flags()});
  append_reply(reply, option, OptionReply::kInfo, message);
  append_reply(reply, option, OptionReply::kAck);
  return true;
}

void ServerHandshake::list(std::string_view data, std::string& reply) const {
  if (!data.empty()) {
    append_reply(reply, Option::kList, OptionReply::kErrInvalid, "this option has no data");
    return;
  }
  std::string server;
  append_bytes(server, Be32(static_cast<uint32_t>(export_.name.size())));
  append_reply(reply, Option::kList, OptionReply::kServer,
               server + export_.name + export_.description);
  append_reply(reply, Option::kList, OptionReply::kAck);
}

void ServerHandshake::structured(std::string_view data, std::string& reply) {
  if (!data.empty()) {
    append_reply(reply, Option::kStructuredReply, OptionReply::kErrInvalid,
                 "this option has no data");
    return;
  }
  negotiated_.structured_replies = true;
  append_reply(reply, Option::kStructuredReply, OptionReply::kAck);
}

// The contexts that the queries choose, each once; nullopt: the message is malformed.
std::optional<std::vector<uint32_t>> ServerHandshake::select_contexts(
    Option option, std::string_view queries) const {
  MessageReader reader(queries);
  Be32 count;
  if (!reader.read(count)) return std::nullopt;
  std::vector<bool> chosen(export_.contexts.size(),
                           option == Option::kListMetaContext && count == 0U);
  for (uint32_t i = 0; i < count; ++i) {
    std::string_view query;
    if (!reader.read_string(query) || query.size() > kMaxStringBytes) return std::nullopt;
    for (size_t c = 0; c < chosen.size(); ++c)
      if (matches(option, query, export_.contexts[c]->name())) chosen[c] = true;
  }
  if (!reader.rest().empty()) return std::nullopt;
  std::vector<uint32_t> indices;
  for (uint32_t c = 0; c < chosen.size(); ++c)
    if (chosen[c]) indices.push_back(c);
  return indices;
}

void ServerHandshake::meta_contexts(Option option, std::string_view data, std::string& reply) {
  // "Issuing this command replaces all previously-set metadata contexts", also where it fails.
  if (option == Option::kSetMetaContext) negotiated_.contexts.clear();
  MessageReader reader(data);
  std::string_view name;
  if (!negotiated_.structured_replies || !reader.read_string(name)) {
    append_reply(reply, option, OptionReply::kErrInvalid,
                 "malformed, or before structured replies");
    return;
  }
  if (name != export_.name) {
    append_reply(reply, option, OptionReply::kErrUnknown, "no export of that name");
    return;
  }
  auto chosen = select_contexts(option, reader.rest());
  if (!chosen) {
    append_reply(reply, option, OptionReply::kErrInvalid, "malformed request");
    return;
  }
  for (const uint32_t index : *chosen) {
    std::string context;
    append_bytes(context, Be32(option == Option::kSetMetaContext ? index : 0));
    context += export_.contexts[index]->name();
    append_reply(reply, option, OptionReply::kMetaContext, context);
  }
  append_reply(reply, option, OptionReply::kAck);
  if (option == Option::kSetMetaContext) negotiated_.contexts = *std::move(chosen);
}

}  // namespace hull::blockcore::nbd
