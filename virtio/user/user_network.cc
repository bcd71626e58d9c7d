#include "virtio/user/user_network.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "base/text.h"
#include "virtio/user/arp.h"
#include "virtio/user/published_ports.h"
#include "virtio/user/resolvers.h"

namespace hull::virtio {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kLookAround{50};

// passt's own; that of SLIRP's gateway, or its neighbour.
std::array<uint8_t, 6> gateway_mac(const std::array<uint8_t, 6>& guest) {
  std::array<uint8_t, 6> mac = {0x52, 0x55, 10, 0, 2, 2};
  if (mac == guest) mac[5] ^= 1;
  return mac;
}

std::vector<std::string> arguments_for(const UserNetworkOptions& options) {
  const UserNetworkSpec& spec = options.spec;
  const std::array<uint8_t, 6> mac = gateway_mac(options.mac);
  std::vector<std::string> words = {"--ipv4-only",
                                    "--mtu",
                                    std::to_string(options.mtu.value_or(kUserMtu)),
                                    "--address",
                                    format_ipv4(spec.address.address),
                                    "--netmask",
                                    std::to_string(spec.address.prefix),
                                    "--gateway",
                                    format_ipv4(user_gateway(spec.address)),
                                    "--mac-addr",
                                    fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0],
                                                mac[1], mac[2], mac[3], mac[4], mac[5])};
  const auto add = [&words](const char* option, std::string value) {
    words.emplace_back(option);
    words.push_back(std::move(value));
  };
  if (!spec.interface.empty()) add("--interface", spec.interface);
  for (const uint32_t resolver : spec.resolvers) add("--dns", format_ipv4(resolver));
  for (const bool udp : {false, true}) {
    const char* const option = udp ? "--udp-ports" : "--tcp-ports";
    bool any = false;
    for (const PublishedPort& port : spec.published) {
      if (port.udp != udp) continue;
      any = true;
      add(option,
          fmt::format("{}/{}:{}", format_ipv4(port.address), port.host_port, port.guest_port));
    }
    if (!any) add(option, "none");
  }
  return words;
}

FrameRules rules_for(const UserNetworkOptions& options) {
  const UserNetworkSpec& spec = options.spec;
  return {.mac = options.mac,
          .address = spec.address,
          .gateway = user_gateway(spec.address),
          .resolvers = spec.resolvers.empty() ? host_resolvers() : spec.resolvers,
          .host_access = spec.host_access,
          .internet_only = spec.internet_only,
          .published = spec.published};
}

}  // namespace

UserNetwork::UserNetwork(UserNetworkOptions options, FrameRules rules, Passt passt,
                         FrameStream stream)
    : options_(std::move(options)),
      gateway_(rules.gateway),
      filter_(std::move(rules)),
      stream_(std::move(stream)),
      passt_(std::move(passt)) {}

Result<std::unique_ptr<UserNetwork>> UserNetwork::open(UserNetworkOptions options) {
  if (!options.mtu) options.mtu = kUserMtu;
  TRY(try_ports(options.spec.published).with_context(options.name));
  Passt passt = TRY(Passt::start(arguments_for(options)).with_context(options.name));
  FrameStream stream = TRY(FrameStream::create(passt.take_socket()).with_context(options.name));
  FrameRules rules = rules_for(options);
  return std::unique_ptr<UserNetwork>(
      new UserNetwork(std::move(options), std::move(rules), std::move(passt), std::move(stream)));
}

// passt answers it when it is up. It learns the guest's address from it, too: before a guest has
// sent a frame, nothing that arrives at a published port would find it.
Result<void> UserNetwork::ask_for_gateway() {
  ArpFrame question = ask_for(options_.mac, options_.spec.address.address, gateway_);
  const iovec piece{&question, sizeof question};
  if (stream_.send({&piece, 1}) != 0) return start_failure();
  return {};
}

bool UserNetwork::gateway_has_answered() {
  for (auto frame = stream_.receive(); !frame.empty(); frame = stream_.receive())
    if (is_answer(frame, gateway_)) return true;
  return false;
}

Result<void> UserNetwork::ready(const std::stop_token& cancel) {
  TRY(ask_for_gateway());
  for (const auto deadline = Clock::now() + kPatience; !gateway_has_answered();) {
    if (cancel.stop_requested())
      return fail(ErrorKind::kTimeout, "{}: the start was called off", options_.name);
    if (Clock::now() > deadline)
      return fail(ErrorKind::kTimeout, "{}: passt does not answer within {} s", options_.name,
                  kPatience.count());
    if (stream_.error() != 0) return start_failure();
    pollfd ready[] = {{.fd = stream_.fd(), .events = POLLIN, .revents = 0},
                      {.fd = passt_.process_fd(), .events = POLLIN, .revents = 0}};
    [[maybe_unused]] const int count = ::poll(ready, 2, static_cast<int>(kLookAround.count()));
    if (ready[1].revents != 0) return start_failure();
  }
  return check_taken(options_.spec.published).with_context(options_.name);
}

std::unexpected<Error> UserNetwork::start_failure() {
  // It has said why before it closed its socket; still, its last word may be on its way.
  pollfd ended{.fd = passt_.process_fd(), .events = POLLIN, .revents = 0};
  [[maybe_unused]] const int count = ::poll(&ended, 1, 1000);
  const std::string words = passt_.last_words();
  if (words.find("user namespace") != std::string::npos)
    return fail(
        ErrorKind::kHost,
        "{}: passt needs user namespaces, which this host, container or chroot forbids ({}). In "
        "Docker: --security-opt seccomp=unconfined; or --net tap with --cap-add NET_ADMIN "
        "--device /dev/net/tun",
        options_.name, printable(words));
  const bool no_route = words.find("No external routable interface") != std::string::npos ||
                        words.find("External interface not usable") != std::string::npos;
  if (no_route && options_.spec.interface.empty())
    return fail(ErrorKind::kHost,
                "{}: the host has no default route, so a user-mode network leads nowhere ('ip "
                "route' shows the routes); --net none does without",
                options_.name);
  return fail(ErrorKind::kHost, "{}: passt has ended: {}", options_.name,
              words.empty() ? "it has not said why" : printable(words));
}

int UserNetwork::send(std::span<const iovec> pieces, size_t bytes) {
  const size_t frame_bytes = bytes - kNetHeaderBytes;
  if (frame_bytes > FrameStream::kMaxFrameBytes) return 0;  // more than the MTU it was told
  // The filter and passt see the same bytes, whatever the guest does to its memory.
  std::array<uint8_t, kNetHeaderBytes + FrameFilter::kMaxHeadBytes> copy;
  pieces_.assign(1, {});
  size_t copied = 0;
  for (const iovec& piece : pieces) {
    const size_t part = std::min(piece.iov_len, copy.size() - copied);
    std::memcpy(copy.data() + copied, piece.iov_base, part);
    copied += part;
    if (part < piece.iov_len)
      pieces_.push_back({static_cast<uint8_t*>(piece.iov_base) + part, piece.iov_len - part});
  }
  const std::span head(copy.data() + kNetHeaderBytes, copied - kNetHeaderBytes);
  if (const std::string_view why = filter_.refuse(head); !why.empty()) {
    LOG_LIMITED(LogLevel::kDebug, options_.name, "{}: frame dropped: {}", options_.name, why);
    return 0;
  }
  pieces_.front() = {head.data(), head.size()};
  return stream_.send(pieces_);
}

ssize_t UserNetwork::receive(std::span<const iovec> pieces) {
  const std::span<const uint8_t> frame = stream_.receive();
  if (frame.empty()) return stream_.error() == 0 ? -EAGAIN : -stream_.error();
  filter_.hear(frame);
  // No offload is ever used: an empty header.
  constexpr std::array<uint8_t, kNetHeaderBytes> kHeader{};
  std::span<const uint8_t> parts[] = {kHeader, frame};
  auto* part = std::begin(parts);
  for (const iovec& piece : pieces) {
    auto* to = static_cast<uint8_t*>(piece.iov_base);
    for (size_t room = piece.iov_len; room != 0 && part != std::end(parts);) {
      const size_t now = std::min(room, part->size());
      std::memcpy(to, part->data(), now);
      to += now;
      room -= now;
      *part = part->subspan(now);
      if (part->empty()) ++part;
    }
  }
  return static_cast<ssize_t>(kNetHeaderBytes + frame.size());
}

std::string UserNetwork::why_gone() {
  const std::string words = passt_.last_words();
  return words.empty() ? "passt has ended" : "passt has ended: " + printable(words);
}

}  // namespace hull::virtio
