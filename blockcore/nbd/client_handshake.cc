#include "blockcore/nbd/client_handshake.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <limits>
#include <span>

#include "base/checked.h"
#include "base/text.h"
#include "blockcore/nbd/stream.h"

namespace hull::blockcore::nbd {

namespace {

using Clock = std::chrono::steady_clock;

constexpr unsigned kMaxReplies = 1024;           // to one option
constexpr size_t kMaxToldBytes = 200;            // of what a server says to people
constexpr uint32_t kMaxMinimumBytes = 64 << 10;  // of a block, as the protocol has it

// Whole transfers over a socket, until the deadline.
class Wire {
 public:
  Wire(int socket, Clock::time_point deadline, int cancel)
      : socket_(socket), deadline_(deadline), cancel_(cancel) {}

  Result<void> receive(std::span<std::byte> data) {
    while (!data.empty()) {
      const ssize_t got = ::recv(socket_, data.data(), data.size(), MSG_DONTWAIT);
      if (got == 0) return fail(ErrorKind::kIo, "the server has closed the connection");
      if (got > 0) {
        data = data.subspan(static_cast<size_t>(got));
      } else if (errno == EAGAIN) {
        if (auto ready = wait_for(POLLIN); !ready) return ready;
      } else if (errno != EINTR) {
        return std::unexpected(Error::from_errno("receive"));
      }
    }
    return {};
  }
  template <class T>
  Result<T> receive() {
    T message;
    if (auto got = receive(std::as_writable_bytes(std::span(&message, 1))); !got)
      return std::unexpected(std::move(got).error());
    return message;
  }
  Result<std::string> receive_string(uint32_t length) {
    if (length > kMaxOptionBytes)
      return fail(ErrorKind::kInvalidFormat, "the server sends an answer of {} bytes", length);
    std::string text(length, '\0');
    if (auto got = receive(std::as_writable_bytes(std::span(text))); !got)
      return std::unexpected(std::move(got).error());
    return text;
  }
  Result<void> send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent >= 0) {
        bytes.remove_prefix(static_cast<size_t>(sent));
      } else if (errno == EAGAIN) {
        if (auto ready = wait_for(POLLOUT); !ready) return ready;
      } else if (errno != EINTR) {
        return std::unexpected(Error::from_errno("send"));
      }
    }
    return {};
  }
  Result<void> wait_for(short events) {
    for (;;) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline_ - Clock::now()).count();
      if (left <= 0) return fail(ErrorKind::kTimeout, "the server does not answer");
      pollfd entries[] = {{.fd = socket_, .events = events, .revents = 0},
                          {.fd = cancel_, .events = POLLIN, .revents = 0}};
      const int ready = ::poll(entries, std::size(entries), static_cast<int>(left));
      if (ready > 0 && entries[1].revents != 0) return fail(ErrorKind::kIo, "given up");
      if (ready > 0) return {};
      if (ready < 0 && errno != EINTR) return std::unexpected(Error::from_errno("poll"));
    }
  }

 private:
  const int socket_;
  const Clock::time_point deadline_;
  const int cancel_;
};

struct OptionAnswer {
  OptionReply type;
  std::string data;
};

class ClientHandshake {
 public:
  ClientHandshake(Wire& wire, const std::string& name) : wire_(wire), name_(name) {}

  Result<ExportFacts> run() {
    TRY(greet());
    facts_.structured_replies = TRY(is_granted(Option::kStructuredReply, ""));
    if (facts_.structured_replies) TRY(choose_context());
    TRY(go());
    return facts_;
  }

 private:
  Result<void> greet() {
    const auto hello = TRY(wire_.receive<ServerHello>());
    if (hello.init_magic != kInitMagic)
      return fail(ErrorKind::kInvalidFormat, "this is no NBD server");
    if (hello.option_magic != kOptionMagic || (hello.flags & kFixedNewstyle) == 0)
      return fail(ErrorKind::kUnsupported, "the server does not know the fixed newstyle handshake");
    std::string answer;
    append_bytes(answer, Be32(uint32_t{hello.flags} & (kFixedNewstyle | kNoZeroes)));
    return wire_.send(answer);
  }

  Result<void> ask(Option option, std::string_view data) {
    std::string message;
    append_bytes(message, OptionHeader{kOptionMagic, static_cast<uint32_t>(option),
                                       static_cast<uint32_t>(data.size())});
    message += data;
    return wire_.send(message);
  }

  Result<OptionAnswer> answer(Option option) {
    const auto header = TRY(wire_.receive<OptionReplyHeader>());
    if (header.magic != kOptionReplyMagic || header.option != static_cast<uint32_t>(option))
      return fail(ErrorKind::kInvalidFormat, "the server's answer is not to what it was asked");
    std::string data = TRY(wire_.receive_string(header.length));
    return OptionAnswer{static_cast<OptionReply>(header.type.get()), std::move(data)};
  }

  static bool is_error(const OptionAnswer& answer) {
    return (static_cast<uint32_t>(answer.type) & kOptionReplyErrorBit) != 0;
  }

  // Options that the server may not know.
  Result<bool> is_granted(Option option, std::string_view data) {
    TRY(ask(option, data));
    const OptionAnswer reply = TRY(answer(option));
    if (reply.type == OptionReply::kErrTlsRequired) return needs_tls();
    if (reply.type != OptionReply::kAck && !is_error(reply))
      return fail(ErrorKind::kInvalidFormat, "the server's answer makes no sense");
    return reply.type == OptionReply::kAck;
  }

  static std::unexpected<Error> needs_tls() {
    return fail(ErrorKind::kUnsupported, "the server insists on TLS, which hull does not speak");
  }

  std::string name_message() const {
    std::string message;
    append_bytes(message, Be32(static_cast<uint32_t>(name_.size())));
    return message + name_;
  }

  Result<void> choose_context() {
    std::string request = name_message();
    append_bytes(request, Be32(1U));
    append_bytes(request, Be32(static_cast<uint32_t>(kAllocationContext.size())));
    request += kAllocationContext;
    TRY(ask(Option::kSetMetaContext, request));
    for (unsigned count = 0; count < kMaxReplies; ++count) {
      const OptionAnswer reply = TRY(answer(Option::kSetMetaContext));
      if (reply.type == OptionReply::kAck || is_error(reply)) return {};
      MessageReader reader(reply.data);
      Be32 id;
      if (reply.type != OptionReply::kMetaContext || !reader.read(id) ||
          reader.rest() != kAllocationContext)
        return fail(ErrorKind::kInvalidFormat, "the server answers with a context of its own");
      facts_.allocation_context = id.get();
    }
    return fail(ErrorKind::kInvalidFormat, "the server's answer has no end");
  }

  Result<void> go() {
    std::string request = name_message();
    // Servers tell only those who ask.
    append_bytes(request, Be16(uint16_t{1}));
    append_bytes(request, Be16(kInfoBlockSize));
    TRY(ask(Option::kGo, request));
    bool described = false;
    for (unsigned count = 0; count < kMaxReplies; ++count) {
      const OptionAnswer reply = TRY(answer(Option::kGo));
      if (is_error(reply)) return refusal(reply);
      if (reply.type == OptionReply::kAck && described) return check_size();
      if (reply.type != OptionReply::kInfo)
        return fail(ErrorKind::kInvalidFormat, "the server does not describe its export");
      described |= TRY(read_info(reply.data));
    }
    return fail(ErrorKind::kInvalidFormat, "the server's answer has no end");
  }

  Result<void> check_size() const {
    if (facts_.size_bytes % facts_.min_bytes == 0) return {};
    return fail(ErrorKind::kUnsupported,
                "the export has {} bytes, and the server takes only requests for multiples of {}",
                facts_.size_bytes, facts_.min_bytes);
  }

  std::unexpected<Error> refusal(const OptionAnswer& reply) const {
    switch (reply.type) {
      case OptionReply::kErrTlsRequired: return needs_tls();
      case OptionReply::kErrUnknown:
        return fail(ErrorKind::kInvalidConfig, "the server has no export '{}'", name_);
      case OptionReply::kErrPolicy:
        return fail(ErrorKind::kBusy, "the server lets nobody else in: {}",
                    printable(reply.data, kMaxToldBytes));
      case OptionReply::kErrUnsupported:
        return fail(ErrorKind::kUnsupported, "the server is too old: it does not know NBD_OPT_GO");
      default:
        return fail(ErrorKind::kIo, "the server refuses the export '{}' ({:#x})", name_,
                    static_cast<uint32_t>(reply.type));
    }
  }

  // True if it was the size and the flags.
  Result<bool> read_info(std::string_view data) {
    const auto malformed = [] {
      return fail(ErrorKind::kInvalidFormat, "the server's description of the export is malformed");
    };
    MessageReader reader(data);
    MessageReader whole(data);
    Be16 kind;
    if (!reader.read(kind)) return malformed();
    if (kind == kInfoBlockSize) {
      BlockSizeInfo sizes;
      if (!whole.read(sizes) || !whole.rest().empty() || sizes.maximum < 4096) return malformed();
      const uint32_t minimum = sizes.minimum;
      if (!std::has_single_bit(minimum) || minimum > kMaxMinimumBytes || sizes.maximum < minimum)
        return malformed();
      facts_.min_bytes = minimum;
      facts_.max_bytes = align_down(std::min(sizes.maximum.get(), kMaxDataBytes), minimum);
    }
    if (kind != kInfoExport) return false;
    ExportInfo info;
    if (!whole.read(info) || !whole.rest().empty() || (info.flags & kHasFlags) == 0)
      return malformed();
    if (info.size_bytes > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      return fail(ErrorKind::kInvalidFormat, "the server claims {} bytes", info.size_bytes.get());
    facts_.size_bytes = info.size_bytes;
    facts_.flags = info.flags;
    return true;
  }

  Wire& wire_;
  const std::string& name_;
  ExportFacts facts_;
};

Result<UniqueFd> connect_socket(const SocketAddress& address, Clock::time_point deadline,
                                int cancel) {
  UniqueFd socket = TRY(address.make_socket(SOCK_NONBLOCK));
  if (::connect(socket.get(), address.get(), address.size()) < 0) {
    if (errno != EINPROGRESS) return std::unexpected(Error::from_errno("connect"));
    TRY(Wire(socket.get(), deadline, cancel).wait_for(POLLOUT));
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return std::unexpected(Error::from_errno("connect", error));
  }
  // From here on it blocks, as engines want it.
  const int flags = ::fcntl(socket.get(), F_GETFL);
  if (flags < 0 || ::fcntl(socket.get(), F_SETFL, flags & ~O_NONBLOCK) < 0)
    return std::unexpected(Error::from_errno("fcntl"));
  const int on = 1;
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return socket;
}

}  // namespace

Result<ClientConnection> connect_to_export(const Url& url, std::chrono::milliseconds patience,
                                           int cancel) {
  const auto deadline = Clock::now() + patience;
  UniqueFd socket = TRY(connect_socket(url.address, deadline, cancel));
  Wire wire(socket.get(), deadline, cancel);
  const ExportFacts facts = TRY(ClientHandshake(wire, url.export_name).run());
  return ClientConnection{std::move(socket), facts};
}

}  // namespace hull::blockcore::nbd
