// Frames of any guest through the filter of user-mode networks, and bytes of any passt through its
// stream, cut anywhere.
#include <fuzzer/FuzzedDataProvider.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "tests/support/ip_frames.h"
#include "virtio/user/frame_filter.h"
#include "virtio/user/frame_stream.h"

using hull::ipv4;
using hull::testing::Bytes;
using hull::virtio::FrameFilter;
using hull::virtio::FrameStream;

namespace {

constexpr uint32_t kGuest = ipv4(10, 0, 2, 15);
constexpr uint32_t kGateway = ipv4(10, 0, 2, 2);
constexpr uint32_t kResolver = ipv4(169, 254, 169, 254);
constexpr uint16_t kPublished = 80;

uint32_t number(const Bytes& bytes, size_t at, size_t count) {
  uint32_t value = 0;
  for (size_t i = 0; i < count; ++i) value = value << 8 | bytes[at + i];
  return value;
}

// Mostly a packet that is right but for some bytes: what is random alone hardly ever is a frame.
Bytes make_frame(FuzzedDataProvider& input) {
  Bytes frame;
  if (input.ConsumeBool()) {
    const uint32_t targets[] = {
        kGateway,         kGuest,     kResolver,           ipv4(127, 0, 0, 1),
        ipv4(0, 0, 0, 0), 0xffffffff, ipv4(203, 0, 113, 1)};
    frame = hull::testing::make_packet(
        {.source = input.ConsumeBool() ? kGuest : input.ConsumeIntegral<uint32_t>(),
         .target = input.ConsumeBool() ? input.PickValueInArray(targets)
                                       : input.ConsumeIntegral<uint32_t>(),
         .protocol = input.PickValueInArray<uint8_t>({1, 6, 17, 0}),
         .source_port = input.ConsumeBool() ? kPublished : input.ConsumeIntegral<uint16_t>(),
         .target_port = input.PickValueInArray<uint16_t>({22, 53, 67, 80}),
         .words = input.ConsumeIntegralInRange<uint8_t>(5, 15),
         .fragment = input.ConsumeIntegralInRange<uint16_t>(0, 3),
         .tcp_flags = input.ConsumeIntegral<uint8_t>()});
  } else {
    frame = hull::testing::bytes_of(hull::virtio::ask_for(
        hull::testing::kGuestMac, input.ConsumeBool() ? kGuest : 0, kGateway));
  }
  for (int i = input.ConsumeIntegralInRange<int>(0, 4); i > 0; --i)
    frame[input.ConsumeIntegralInRange<size_t>(0, frame.size() - 1)] =
        input.ConsumeIntegral<uint8_t>();
  frame.resize(input.ConsumeBool() ? frame.size()
                                   : input.ConsumeIntegralInRange<size_t>(0, frame.size()));
  return frame;
}

// What holds of every frame that leaves, read anew and in another way.
void check_allowed(const Bytes& frame, bool host_access) {
  CHECK(frame.size() >= 14 + 20);
  CHECK(std::memcmp(frame.data() + 6, hull::testing::kGuestMac.data(), 6) == 0);
  const uint32_t type = number(frame, 12, 2);
  CHECK(type == 0x800 || type == 0x806);
  if (type == 0x806) {
    const uint32_t sender = number(frame, 14 + 14, 4);
    CHECK(frame.size() >= 42 && (sender == kGuest || sender == 0));
    return;
  }
  const size_t ports = 14 + 4U * (frame[14] & 0xf);
  const uint32_t source = number(frame, 26, 4);
  const uint32_t target = number(frame, 30, 4);
  const bool has_ports = frame.size() >= ports + 4 && (frame[23] == 6 || frame[23] == 17) &&
                         (number(frame, 20, 2) & 0x3fff) == 0;
  const uint32_t port = has_ports ? number(frame, ports + 2, 2) : 0;
  CHECK(source == kGuest || (source == 0 && port == 67));
  const uint32_t net = target >> 24;
  const bool dhcp = port == 67 && frame[23] == 17;
  if (target == 0xffffffff) CHECK(dhcp);
  // An answer of the published port is no first segment.
  const bool answers = has_ports && frame[23] == 6 && number(frame, ports, 2) == kPublished &&
                       frame.size() > ports + 13 && (frame[ports + 13] & 0x12) != 0x02;
  if (target == kGateway) CHECK(host_access || port == 53 || dhcp || answers);
  CHECK(net != 127 && net != 0 && (net < 224 || target == 0xffffffff));
  if (target >> 16 == 0xa9fe) CHECK(target == kResolver && port == 53);
}

void try_filter(FuzzedDataProvider& input) {
  const bool host_access = input.ConsumeBool();
  const FrameFilter filter({.mac = hull::testing::kGuestMac,
                            .address = {kGuest, 24},
                            .gateway = kGateway,
                            .resolvers = {kResolver},
                            .host_access = host_access,
                            .published = {{.host_port = 1, .guest_port = kPublished}}});
  while (input.remaining_bytes() != 0) {
    const Bytes frame = make_frame(input);
    // As much as the device shows it, in memory that ends there.
    const Bytes head(frame.begin(), frame.begin() + static_cast<ptrdiff_t>(std::min(
                                                        frame.size(), FrameFilter::kMaxHeadBytes)));
    if (filter.refuse(head).empty()) check_allowed(frame, host_access);
  }
}

void try_stream(FuzzedDataProvider& input) {
  int fds[2];
  CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
  const hull::UniqueFd far(fds[1]);
  auto stream = FrameStream::create(hull::UniqueFd(fds[0]));
  CHECK(stream.has_value());
  Bytes wire;       // all that was sent
  size_t seen = 0;  // of it, what is in frames that came out, or was skipped
  while (input.remaining_bytes() != 0 && stream->error() == 0) {
    Bytes part = input.ConsumeBytes<uint8_t>(input.ConsumeIntegralInRange<size_t>(1, 200));
    if (input.ConsumeBool()) {
      const Bytes body = part;
      part.clear();
      hull::testing::put(part, body.size(), 4);
      part.insert(part.end(), body.begin(), body.end());
    }
    CHECK(::send(far.get(), part.data(), part.size(), 0) == static_cast<ssize_t>(part.size()));
    wire.insert(wire.end(), part.begin(), part.end());
    for (auto frame = stream->receive(); !frame.empty(); frame = stream->receive()) {
      while (number(wire, seen, 4) < 14) seen += 4 + number(wire, seen, 4);
      CHECK(number(wire, seen, 4) == frame.size());
      CHECK(std::memcmp(wire.data() + seen + 4, frame.data(), frame.size()) == 0);
      seen += 4 + frame.size();
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider input(data, size);
  if (input.ConsumeBool())
    try_filter(input);
  else
    try_stream(input);
  return 0;
}
