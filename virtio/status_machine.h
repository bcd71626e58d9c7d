// The device status field (virtio 1.2, 2.1 and 3.1.1), shared by every transport.
//
// Which status may follow which is one table; everything else that a driver writes is refused and
// changes nothing. DEVICE_NEEDS_RESET is the device's and kept elsewhere (Frontend).
#pragma once

#include <cstdint>

namespace hull::virtio {

inline constexpr uint8_t kStatusAcknowledge = 1;
inline constexpr uint8_t kStatusDriver = 2;
inline constexpr uint8_t kStatusDriverOk = 4;
inline constexpr uint8_t kStatusFeaturesOk = 8;
inline constexpr uint8_t kStatusNeedsReset = 64;
inline constexpr uint8_t kStatusFailed = 128;

// What the transport has to do because of a write.
enum class StatusAction : uint8_t {
  kNone,      // recorded, or nothing new
  kRefused,   // not in the table: unchanged
  kReset,     // 0 was written; the machine waits for reset()
  kActivate,  // DRIVER_OK was set
  kFail,      // FAILED was set
};

class StatusMachine {
 public:
  uint8_t value() const { return value_; }

  // `features_acceptable`: FEATURES_OK may be set (2.2.2).
  StatusAction write(uint8_t value, bool features_acceptable);
  void reset() { value_ = 0; }
  // Takes up a saved value; false, and nothing is changed, for one that no driver can have reached.
  bool restore(uint8_t value);

  // Feature bits are taken between DRIVER and FEATURES_OK, queues between FEATURES_OK and
  // DRIVER_OK (3.1.1, steps 4 to 8).
  bool accepts_features() const { return value_ == (kStatusAcknowledge | kStatusDriver); }
  bool accepts_queues() const {
    return value_ == (kStatusAcknowledge | kStatusDriver | kStatusFeaturesOk);
  }

 private:
  uint8_t value_ = 0;
};

}  // namespace hull::virtio
