#include "tools/hull/user_network_words.h"

#include <algorithm>
#include <charconv>

#include "base/limits.h"
#include "config/values.h"

namespace hull::cli {

namespace {

constexpr unsigned kMaxForwards = 1000;  // numbers in portForwardN and rangeM

std::unexpected<Error> not_a_port(std::string_view text) {
  return fail(ErrorKind::kUsage, "'{}' is not a port, 1 to 65535", text);
}

Result<uint16_t> parse_port(std::string_view text) {
  const auto port = config::parse_number(text);
  if (!port || *port < 1 || *port > 65535) return not_a_port(text);
  return static_cast<uint16_t>(*port);
}

struct PortRange {
  uint16_t first;
  uint16_t last;
};

Result<PortRange> parse_range(std::string_view text) {
  const size_t dash = text.find('-');
  const uint16_t first = TRY(parse_port(text.substr(0, dash)));
  const uint16_t last =
      dash == std::string_view::npos ? first : TRY(parse_port(text.substr(dash + 1)));
  if (last < first) return fail(ErrorKind::kUsage, "'{}' ends before it begins", text);
  return PortRange{first, last};
}

Result<uint32_t> parse_address(std::string_view text) {
  const auto address = parse_ipv4(text);
  if (!address) return fail(ErrorKind::kUsage, "'{}' is not an IPv4 address", text);
  return *address;
}

Result<std::vector<PublishedPort>> ports_of(bool udp, uint32_t address, PortRange host,
                                            PortRange guest) {
  const unsigned count = guest.last - guest.first + 1U;
  if (host.first != 0 && host.last - host.first + 1U != count)
    return fail(ErrorKind::kUsage, "{}-{} and {}-{} are not as many ports", host.first, host.last,
                guest.first, guest.last);
  if (count > kMaxPublishedPorts)
    return fail(ErrorKind::kUsage, "{} ports: at most {}", count, kMaxPublishedPorts);
  std::vector<PublishedPort> ports;
  ports.reserve(count);
  for (unsigned i = 0; i < count; ++i)
    ports.push_back({.udp = udp,
                     .address = address,
                     .host_port = static_cast<uint16_t>(host.first == 0 ? 0 : host.first + i),
                     .guest_port = static_cast<uint16_t>(guest.first + i)});
  return ports;
}

// "/udp" at the end is taken off.
Result<bool> take_protocol(std::string_view& text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return false;
  const std::string_view protocol = text.substr(slash + 1);
  text = text.substr(0, slash);
  if (protocol != "tcp" && protocol != "udp")
    return fail(ErrorKind::kUsage, "'/{}': say /tcp or /udp", protocol);
  return protocol == "udp";
}

// QEMU's tcp:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT.
Result<std::vector<PublishedPort>> parse_hostfwd(std::string_view text) {
  constexpr std::string_view kForm = "hostfwd= is tcp|udp:[ADDRESS]:PORT-:PORT";
  const size_t first = text.find(':');
  const size_t dash = text.find('-');
  const size_t second = text.find(':', first + 1);
  const size_t third = text.find(':', dash);
  const std::string_view protocol = text.substr(0, first);
  if ((protocol != "tcp" && protocol != "udp" && !protocol.empty()) ||
      first == std::string_view::npos || dash == std::string_view::npos || second > dash ||
      third == std::string_view::npos)
    return fail(ErrorKind::kUsage, "'{}': {}", text, kForm);
  const std::string_view address = text.substr(first + 1, second - first - 1);
  const std::string_view guest = text.substr(dash + 1, third - dash - 1);
  if (!guest.empty() && guest != format_ipv4(UserNetworkSpec().address.address))
    return fail(ErrorKind::kUsage, "hostfwd= leads to the guest itself; leave '{}' out", guest);
  const uint16_t host_port = TRY(parse_port(text.substr(second + 1, dash - second - 1)));
  const uint16_t guest_port = TRY(parse_port(text.substr(third + 1)));
  return ports_of(protocol == "udp", address.empty() ? kIpv4Loopback : TRY(parse_address(address)),
                  {host_port, host_port}, {guest_port, guest_port});
}

Result<Ipv4Network> parse_guest_address(std::string_view text) {
  const size_t slash = text.find('/');
  Ipv4Network network = {.address = TRY(parse_address(text.substr(0, slash))), .prefix = 24};
  if (slash == std::string_view::npos) return network;
  const auto prefix = config::parse_number(text.substr(slash + 1));
  if (!prefix || *prefix > 32)
    return fail(ErrorKind::kUsage, "address={}: a prefix is {} to {}", text, kMinUserPrefix,
                kMaxUserPrefix);
  network.prefix = static_cast<unsigned>(*prefix);
  return network;
}

// The number at the beginning of `text`, which is taken off; absent: 0, as virt-install has it.
std::optional<unsigned> take_number(std::string_view& text) {
  unsigned number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (end == text.data()) return 0;
  if (error != std::errc() || number > kMaxForwards) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return number;
}

}  // namespace

Result<std::vector<PublishedPort>> parse_publish(std::string_view text) {
  std::string_view rest = text;
  const bool udp = TRY(take_protocol(rest));
  if (rest.starts_with('['))
    return fail(ErrorKind::kUsage, "'{}': a user-mode network publishes on IPv4 addresses", text);
  const size_t last = rest.rfind(':');
  if (last == std::string_view::npos)
    return ports_of(udp, kIpv4Loopback, {0, 0}, TRY(parse_range(rest)));
  const PortRange guest = TRY(parse_range(rest.substr(last + 1)));
  rest = rest.substr(0, last);
  const size_t before = rest.rfind(':');
  const std::string_view port = before == std::string_view::npos ? rest : rest.substr(before + 1);
  const uint32_t address =
      before == std::string_view::npos ? kIpv4Loopback : TRY(parse_address(rest.substr(0, before)));
  // "127.0.0.1:80" would be a port of an address that is none.
  if (before == std::string_view::npos && parse_ipv4(port))
    return fail(ErrorKind::kUsage, "'{}': two colons after an address: {}::{}", text, port,
                guest.first);
  return ports_of(udp, address, port.empty() ? PortRange{0, 0} : TRY(parse_range(port)), guest);
}

Result<void> UserNetworkWords::publish(Result<std::vector<PublishedPort>> ports) {
  for (const PublishedPort& port : TRY(std::move(ports))) spec_.published.push_back(port);
  return {};
}

Result<bool> UserNetworkWords::take(const Suboption& option) {
  const std::string_view value = option.value;
  if (option.key == "publish")
    TRY(publish(parse_publish(value)));
  else if (option.key == "hostfwd")
    TRY(publish(parse_hostfwd(value)));
  else if (option.key == "address")
    spec_.address = TRY(parse_guest_address(value));
  else if (option.key == "dns")
    spec_.resolvers.push_back(TRY(parse_address(value)));
  else if (option.key == "host")
    spec_.host_access = TRY(parse_switch(option));
  else if (option.key == "interface")
    spec_.interface = value;
  else if (option.key == "restrict" && value == "internet")
    spec_.internet_only = true;
  else if (option.key == "restrict")
    return fail(ErrorKind::kUsage, "restrict={}: 'internet' (no private networks) is what there is",
                value);
  else if (option.key == "guestfwd")
    return fail(ErrorKind::kUsage,
                "guestfwd= is not there; host=on opens the host's loopback as the gateway's ports");
  else
    return take_forward(option.key, value);
  return true;
}

Result<bool> UserNetworkWords::take_forward(std::string_view key, std::string_view value) {
  constexpr std::string_view kPrefix = "portForward";
  if (!key.starts_with(kPrefix)) return false;
  std::string_view rest = key.substr(kPrefix.size());
  const auto number = take_number(rest);
  if (!number) return false;
  if (rest.empty()) {
    TRY(publish(parse_publish(value)));
    return true;
  }
  if (!rest.starts_with('.')) return false;
  TRY(take_forward_part(forwards_[*number], rest.substr(1), value));
  return true;
}

Result<void> UserNetworkWords::take_forward_part(Forward& forward, std::string_view part,
                                                 std::string_view value) {
  constexpr std::string_view kRange = "range";
  if (part == "proto" && (value == "tcp" || value == "udp")) {
    forward.udp = value == "udp";
    return {};
  }
  if (part == "address") {
    forward.address = TRY(parse_address(value));
    return {};
  }
  const auto unknown = [&]() {
    return fail(ErrorKind::kUsage,
                "'{}={}' is not known (proto=tcp|udp, address=, rangeN.start=, .end=, .to=)", part,
                value);
  };
  if (!part.starts_with(kRange)) return unknown();
  std::string_view rest = part.substr(kRange.size());
  const auto number = take_number(rest);
  if (!number || (rest != ".start" && rest != ".end" && rest != ".to")) return unknown();
  Range& range = forward.ranges[*number];
  (rest == ".start" ? range.start : rest == ".end" ? range.end : range.to) = TRY(parse_port(value));
  return {};
}

Result<UserNetworkSpec> UserNetworkWords::finish() {
  for (const auto& [number, forward] : forwards_) {
    for (const auto& [place, range] : forward.ranges) {
      const uint16_t end = range.end == 0 ? range.start : range.end;
      const uint16_t to = range.to == 0 ? range.start : range.to;
      if (range.start == 0 || end < range.start || to + (end - range.start) > 65535)
        return fail(ErrorKind::kUsage, "portForward{}: range{} is no range", number, place);
      TRY(publish(ports_of(forward.udp, forward.address, {range.start, end},
                           {to, static_cast<uint16_t>(to + (end - range.start))})));
    }
  }
  return std::move(spec_);
}

}  // namespace hull::cli
