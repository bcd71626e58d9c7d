// Where the frames of a network device come from and go to.
#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"

namespace hull::virtio {

// What the receiver of frames can finish itself (virtio 1.2, 5.1.3: GUEST_CSUM, GUEST_TSO4, …).
struct NetOffloads {
  bool checksum = false;
  bool tso4 = false;  // these need `checksum`
  bool tso6 = false;
  bool ecn = false;  // needs one of tso4 and tso6
};

// One readv(2) is one frame and so is one writev(2), each with a virtio_net_hdr of 12 bytes before
// it (5.1.6). The descriptor does not block. Used on the device's worker.
class NetBackend {
 public:
  virtual ~NetBackend() = default;
  virtual int fd() const = 0;
  // What set_offloads() can switch on. Constant.
  virtual NetOffloads supported_offloads() const = 0;
  // The largest packet that the network carries, 68 to 65535 bytes, where that is not Ethernet's
  // 1500. Constant.
  virtual std::optional<uint16_t> mtu() const { return std::nullopt; }
  // From now on the back end sends only frames that need no more than this.
  virtual Result<void> set_offloads(NetOffloads offloads) = 0;
};

}  // namespace hull::virtio
