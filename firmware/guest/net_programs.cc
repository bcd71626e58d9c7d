// net.*: answer, ping, and the two directions of the benchmark. All take ip= (this guest's
// address).
#include <cstring>

#include "firmware/guest/clock.h"
#include "firmware/guest/console.h"
#include "firmware/guest/net.h"
#include "firmware/guest/packet.h"
#include "firmware/guest/program.h"

namespace hull::guest {
namespace {

constexpr uint32_t kPingSize = 98;  // as the usual ping: 56 bytes of data
constexpr uint64_t kAnswerTimeoutMs = 1000;
constexpr uint32_t kDiscardPort = 9;
constexpr uint8_t kTcpAck = 0x10;

// A device, our address, and what came in so far.
struct Station {
  NetDevice device;
  Endpoint self{};
  uint64_t frames = 0;
  uint64_t bytes = 0;
  uint64_t pings = 0;

  Failure open(const Args& args) {
    self.ip = to_ipv4(args.text("ip", "10.0.0.2"));
    if (self.ip == 0) return "ip= is not an address";
    if (Failure failure = device.open(args)) return failure;
    self.mac = device.mac();
    return nullptr;
  }

  // Takes one frame, counts it and answers it. False: none there.
  bool step(const uint8_t*& frame, uint32_t& size) {
    size = device.receive(frame);
    if (size == 0) return false;
    frames++;
    bytes += size;
    device.reclaim();
    uint8_t* answer = device.frame_to_send();
    if (answer == nullptr) return true;
    const uint32_t answer_size = make_answer(frame, size, self, answer);
    if (answer_size == 0) return true;
    if (answer_size >= sizeof(IcmpPacket) &&
        reinterpret_cast<EthernetHeader*>(answer)->type.get() == kTypeIpv4)
      pings++;
    device.send(answer_size);
    device.send_queue().kick();
    return true;
  }
  bool step() {
    const uint8_t* frame;
    uint32_t size;
    return step(frame, size);
  }
};

Failure info(const Args& args) {
  NetDevice device;
  if (Failure failure = device.open(args)) return failure;
  uint64_t mac = 0;
  for (uint8_t byte : device.mac().bytes) mac = (mac << 8) | byte;
  MmioDevice& transport = device.transport();
  Line line("net.info");
  line.hex("mac", mac)
      .hex("features", transport.features())
      .number("mergeable", transport.has(kNetMergeable));
  if (transport.has(kNetStatus)) line.number("link", transport.config16(6) & 1);
  if (transport.has(kNetMtu)) line.number("mtu", transport.config16(10));
  return nullptr;
}

// Answers until pings= echo requests are answered or seconds= have passed.
Failure serve(const Args& args) {
  Station station;
  if (Failure failure = station.open(args)) return failure;
  const uint64_t wanted = args.number("pings", ~uint64_t{0});
  const Deadline deadline(args.number("seconds", 3600) * 1000);
  Line("net.serve").text("ip", args.text("ip", "10.0.0.2")).words("ready");
  while (station.pings < wanted && !deadline.passed()) {
    if (!station.step())
      station.device.receive_queue().idle();  // no interrupt for a while is no fault here
  }
  Line("net.serve")
      .number("frames", station.frames)
      .number("bytes", station.bytes)
      .number("pings", station.pings);
  return station.pings >= wanted || !args.has("pings") ? nullptr : "too few pings";
}

// Sends one frame that is ready in frame_to_send(), and waits until `is_answer` is true of one that
// comes.
template <class IsAnswer>
Failure exchange(Station& station, uint32_t size, IsAnswer is_answer) {
  station.device.send(size);
  station.device.send_queue().kick();
  const Deadline deadline(kAnswerTimeoutMs);
  const uint8_t* frame;
  uint32_t received;
  while (!deadline.passed()) {
    if (station.step(frame, received) && is_answer(frame, received)) return nullptr;
  }
  return "no answer";
}

Failure find_mac(Station& station, uint32_t ip, Endpoint& peer) {
  peer = {{}, ip};
  auto* request = reinterpret_cast<ArpPacket*>(station.device.frame_to_send());
  if (request == nullptr) return "no room to send";
  make_arp(*request, kArpRequest, station.self, peer);
  return exchange(station, sizeof(ArpPacket), [&](const uint8_t* frame, uint32_t size) {
    const auto& reply = *reinterpret_cast<const ArpPacket*>(frame);
    if (size < sizeof(ArpPacket) || reply.ethernet.type.get() != kTypeArp) return false;
    if (reply.operation.get() != kArpReply || reply.sender_ip.get() != ip) return false;
    peer.mac = reply.sender_mac;
    return true;
  });
}

Failure ping_once(Station& station, const Endpoint& peer, uint32_t sequence) {
  auto* request = reinterpret_cast<IcmpPacket*>(station.device.frame_to_send());
  if (request == nullptr) return "no room to send";
  memset(request, 0x5a, kPingSize);
  make_echo_request(*request, kPingSize, sequence, station.self, peer);
  return exchange(station, kPingSize, [&](const uint8_t* frame, uint32_t size) {
    const auto& reply = *reinterpret_cast<const IcmpPacket*>(frame);
    return size >= kPingSize && reply.ethernet.type.get() == kTypeIpv4 &&
           reply.ip.protocol == kProtocolIcmp && reply.type == kEchoReply &&
           reply.ip.from.get() == peer.ip && reply.sequence.get() == sequence;
  });
}

Failure ping(const Args& args) {
  Station station;
  if (Failure failure = station.open(args)) return failure;
  Endpoint peer;
  if (Failure failure = find_mac(station, to_ipv4(args.text("to", "10.0.0.1")), peer))
    return failure;
  const auto count = static_cast<uint32_t>(args.number("count", 3));
  const uint64_t before = read_tsc();
  for (uint32_t i = 1; i <= count; i++) {
    if (Failure failure = ping_once(station, peer, i)) return failure;
    station.device.reclaim();
  }
  Line("net.ping").number("pings", count).number("us", cycles_to_us(read_tsc() - before));
  return nullptr;
}

// UDP to the discard port; with gso=N, TCP segments for the device to cut into pieces of N.
uint32_t make_bench_frame(uint8_t* frame, uint32_t size, const Endpoint& from, const Endpoint& to) {
  auto& packet = *reinterpret_cast<UdpPacket*>(frame);
  constexpr uint32_t kHeaders = sizeof(EthernetHeader) + sizeof(Ipv4Header);
  if (size < sizeof(UdpPacket)) size = sizeof(UdpPacket);
  make_ipv4(packet.ethernet, packet.ip, kProtocolUdp, size - kHeaders, from, to);
  packet.from_port.set(kDiscardPort);
  packet.to_port.set(kDiscardPort);
  packet.length.set(size - kHeaders);
  packet.checksum.set(0);
  return size;
}

uint32_t make_bench_segment(uint8_t* frame, uint32_t size, const Endpoint& from,
                            const Endpoint& to) {
  auto& packet = *reinterpret_cast<TcpPacket*>(frame);
  constexpr uint32_t kHeaders = sizeof(EthernetHeader) + sizeof(Ipv4Header);
  if (size <= sizeof(TcpPacket)) size = sizeof(TcpPacket) + 1;
  make_ipv4(packet.ethernet, packet.ip, kProtocolTcp, size - kHeaders, from, to);
  memset(&packet.from_port, 0, sizeof(TcpPacket) - kHeaders);
  packet.from_port.set(kDiscardPort);
  packet.to_port.set(kDiscardPort);
  packet.data_offset = 0x50;
  packet.flags = kTcpAck;
  packet.window.set(0xffff);
  // NEEDS_CSUM: the sum of the pseudo header stands in the field (virtio 1.2, 5.1.6.2).
  uint32_t sum = add_to_checksum(kProtocolTcp + size - kHeaders, &packet.ip.from, 8);
  packet.checksum.set(static_cast<uint16_t>(~fold_checksum(sum)));
  return size;
}

NetHeader gso_header(uint16_t segment) {
  return {.flags = kNetNeedsChecksum,
          .gso_type = kNetGsoTcp4,
          .header_length = sizeof(TcpPacket),
          .gso_size = segment,
          .checksum_start = sizeof(EthernetHeader) + sizeof(Ipv4Header),
          .checksum_offset = 16,
          .buffers = 0};
}

void report(std::string_view what, uint64_t frames, uint64_t bytes, uint64_t cycles,
            uint64_t kicks) {
  const uint64_t us = cycles_to_us(cycles) + 1;
  Line(what)
      .words("end")
      .number("frames", frames)
      .number("bytes", bytes)
      .number("cycles", cycles)
      .number("us", us)
      .number("frames-per-s", frames * 1'000'000 / us)
      .number("kib-per-s", bytes * 15625 / 16 / us)
      .number("kicks", kicks);
}

// Frames of size= bytes, as many as frames= or as ms= allow, to to= (found by ARP) or to nobody.
class Sender {
 public:
  explicit Sender(const Args& args)
      : args_(args),
        gso_(static_cast<uint16_t>(args.number("gso", 0))),
        size_(static_cast<uint32_t>(args.number("size", gso_ != 0 ? 65000 : 60))),
        wanted_(args.number("frames", args.has("ms") ? ~uint64_t{0} : 1000)) {}

  Failure run() {
    if (Failure failure = prepare()) return failure;
    Line("net.send").words("begin");
    const uint64_t before = read_tsc();
    Failure failure = loop();
    report("net.send", sent_, bytes_, read_tsc() - before, station_.device.send_queue().kicks());
    return failure;
  }

 private:
  Failure prepare() {
    if (Failure failure = station_.open(args_)) return failure;
    if (gso_ != 0 && !station_.device.transport().has(kNetHostTso4))
      return "TSO was not negotiated";
    if (size_ > NetDevice::kMaxFrame) return "frames cannot be so large";
    peer_ = {{{2, 0, 0, 0, 0, 1}}, to_ipv4("10.0.0.1")};
    if (!args_.has("to")) return nullptr;
    Failure failure = find_mac(station_, to_ipv4(args_.text("to")), peer_);
    station_.device.reclaim();
    return failure;
  }

  bool submit_one() {
    uint8_t* frame = station_.device.frame_to_send();
    if (frame == nullptr) return false;
    const uint32_t length = gso_ != 0 ? make_bench_segment(frame, size_, station_.self, peer_)
                                      : make_bench_frame(frame, size_, station_.self, peer_);
    station_.device.send(length, gso_ != 0 ? gso_header(gso_) : NetHeader{});
    bytes_ += length;
    submitted_++;
    return true;
  }

  Failure loop() {
    const Deadline end(args_.number("ms", kDeviceTimeoutMs));
    const Deadline hopeless(args_.number("ms", 0) + kDeviceTimeoutMs);
    bool more = true;
    while (more || sent_ < submitted_) {
      more = submitted_ < wanted_ && !end.passed();
      for (int i = 0; more && i < kBatch && submitted_ < wanted_; i++) {
        if (!submit_one()) break;
      }
      station_.device.send_queue().kick();
      sent_ += station_.device.reclaim();
      if (hopeless.passed()) return "the device does not send";
    }
    return args_.has("frames") && sent_ < wanted_ ? "not all were sent" : nullptr;
  }

  static constexpr int kBatch = 16;  // frames for one notification, at most

  const Args& args_;
  uint16_t gso_;
  uint32_t size_;
  uint64_t wanted_;
  Station station_;
  Endpoint peer_{};
  uint64_t submitted_ = 0;
  uint64_t sent_ = 0;
  uint64_t bytes_ = 0;
};

Failure send(const Args& args) { return Sender(args).run(); }

// Counts (and answers) from the first frame on, until frames= have come or ms= have passed.
Failure receive(const Args& args) {
  Station station;
  if (Failure failure = station.open(args)) return failure;
  const uint64_t wanted = args.number("frames", ~uint64_t{0});
  const Deadline deadline(args.number("ms", 10'000));
  Line("net.recv").words("ready");
  uint64_t first = 0;
  uint64_t last = 0;
  while (station.frames < wanted && !deadline.passed()) {
    if (!station.step()) {
      pause();
      continue;
    }
    last = read_tsc();
    if (first == 0) first = last;
  }
  report("net.recv", station.frames, station.bytes, last - first,
         station.device.receive_queue().kicks());
  return args.has("frames") && station.frames < wanted ? "too few frames" : nullptr;
}

constexpr Program kPrograms[] = {
    {"net.info", info}, {"net.serve", serve},  {"net.ping", ping},
    {"net.send", send}, {"net.recv", receive},
};

}  // namespace

std::span<const Program> net_programs() { return kPrograms; }

}  // namespace hull::guest
