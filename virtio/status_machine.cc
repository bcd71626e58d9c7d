#include "virtio/status_machine.h"

namespace hull::virtio {

namespace {

struct Transition {
  uint8_t from;
  uint8_t to;
  StatusAction action;
};

constexpr uint8_t kAcknowledged = kStatusAcknowledge;
constexpr uint8_t kDriverFound = kAcknowledged | kStatusDriver;
constexpr uint8_t kNegotiated = kDriverFound | kStatusFeaturesOk;
constexpr uint8_t kRunning = kNegotiated | kStatusDriverOk;

constexpr Transition kTransitions[] = {
    {0, kAcknowledged, StatusAction::kNone},
    // Firmware sets both bits in one write; nothing depends on seeing them apart.
    {0, kDriverFound, StatusAction::kNone},
    {kAcknowledged, kDriverFound, StatusAction::kNone},
    {kDriverFound, kNegotiated, StatusAction::kNone},
    {kNegotiated, kRunning, StatusAction::kActivate},
};

}  // namespace

StatusAction StatusMachine::write(uint8_t value, bool features_acceptable) {
  if (value == 0) return StatusAction::kReset;
  // Drivers add bits to what they read, which may hold our own bit.
  value = static_cast<uint8_t>(value & ~kStatusNeedsReset);
  if (value == value_) return StatusAction::kNone;
  if (value == (value_ | kStatusFailed)) {
    value_ = value;
    return StatusAction::kFail;
  }
  for (const Transition& transition : kTransitions) {
    if (transition.from != value_ || transition.to != value) continue;
    // 2.2.2: a set of features that we cannot use leaves FEATURES_OK clear.
    if (value == kNegotiated && !features_acceptable) return StatusAction::kRefused;
    value_ = value;
    return transition.action;
  }
  return StatusAction::kRefused;
}

bool StatusMachine::restore(uint8_t value) {
  const auto reached = static_cast<uint8_t>(value & ~kStatusFailed);
  bool known = reached == 0;
  for (const Transition& transition : kTransitions) known |= transition.to == reached;
  if (known) value_ = value;
  return known;
}

}  // namespace hull::virtio
