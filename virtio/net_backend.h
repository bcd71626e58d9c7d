// Where the frames of a network device come from and go to.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"

namespace hull::virtio {

inline constexpr size_t kNetHeaderBytes = 12;
inline constexpr size_t kEthernetHeaderBytes = 14;
// 5.1.6.3: the largest frame with segmentation offload, and its header.
inline constexpr size_t kMaxNetFrameBytes = kNetHeaderBytes + 65589;

// What the receiver of frames can finish itself (virtio 1.2, 5.1.3: GUEST_CSUM, GUEST_TSO4, …).
struct NetOffloads {
  bool checksum = false;
  bool tso4 = false;  // these need `checksum`
  bool tso6 = false;
  bool ecn = false;  // needs one of tso4 and tso6
};

// Each frame has a virtio_net_hdr of kNetHeaderBytes before it (5.1.6), which is part of what is
// sent and received. Used on the device's worker.
class NetBackend {
 public:
  virtual ~NetBackend() = default;
  // Readable when frames have arrived, writable when one can be sent, hung up when that is over.
  // Never blocks.
  virtual int fd() const = 0;
  // One frame of `bytes` bytes, kNetHeaderBytes + kEthernetHeaderBytes to kMaxNetFrameBytes, which
  // the guest may change meanwhile. 0: it is on its way, or dropped by a rule of the back end's;
  // EAGAIN: not now, fd() becomes writable; or another errno.
  virtual int send(std::span<const iovec> pieces, size_t bytes);
  // One frame into `pieces`, which hold kMaxNetFrameBytes together, the guest's memory among them.
  // The bytes that it has, or -errno; -EAGAIN: there is none.
  virtual ssize_t receive(std::span<const iovec> pieces);
  // Another frame has arrived, and fd() need not say so.
  virtual bool holds_frames() const { return false; }
  // What set_offloads() can switch on. Constant.
  virtual NetOffloads supported_offloads() const = 0;
  // The largest packet that the network carries, 68 to 65535 bytes, where that is not Ethernet's
  // 1500. Constant.
  virtual std::optional<uint16_t> mtu() const { return std::nullopt; }
  // From now on the back end sends only frames that need no more than this.
  virtual Result<void> set_offloads(NetOffloads offloads) = 0;
  // What is known of why fd() was hung up, for a message.
  virtual std::string why_gone() { return "the interface is gone"; }
};

}  // namespace hull::virtio
