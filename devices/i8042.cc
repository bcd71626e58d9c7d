#include "devices/i8042.h"

#include <algorithm>
#include <utility>

namespace hull::devices {

namespace {

constexpr uint64_t kDataPort = 0;           // 0x60
constexpr uint64_t kStatusCommandPort = 4;  // 0x64

constexpr uint8_t kStatusOutputFull = 0x01;
constexpr uint8_t kStatusSystemFlag = 0x04;
constexpr uint8_t kStatusCommandWritten = 0x08;
constexpr uint8_t kStatusNotLocked = 0x10;

constexpr uint8_t kConfigurationInterrupt = 0x01;  // IRQ 1 when the output buffer fills
constexpr uint8_t kConfigurationSystemFlag = 0x04;
constexpr uint8_t kConfigurationKeyboardDisabled = 0x10;
constexpr uint8_t kConfigurationMouseDisabled = 0x20;
constexpr uint8_t kConfigurationTranslation = 0x40;

constexpr uint8_t kOutputPortNotReset = 0x01;  // 0 pulls the CPU's reset line
constexpr uint8_t kOutputPortBufferFull = 0x10;

// Controller commands (port 0x64).
constexpr uint8_t kReadConfiguration = 0x20;
constexpr uint8_t kWriteConfiguration = 0x60;
constexpr uint8_t kDisableMouse = 0xa7;
constexpr uint8_t kEnableMouse = 0xa8;
constexpr uint8_t kTestMouse = 0xa9;
constexpr uint8_t kSelfTest = 0xaa;
constexpr uint8_t kTestKeyboard = 0xab;
constexpr uint8_t kDisableKeyboard = 0xad;
constexpr uint8_t kEnableKeyboard = 0xae;
constexpr uint8_t kReadInputPort = 0xc0;
constexpr uint8_t kReadOutputPort = 0xd0;
constexpr uint8_t kWriteOutputPort = 0xd1;
constexpr uint8_t kWriteKeyboardBuffer = 0xd2;
constexpr uint8_t kWriteMouseBuffer = 0xd3;
constexpr uint8_t kWriteToMouse = 0xd4;
constexpr uint8_t kPulseOutputPort = 0xf0;  // to 0xff: lines whose bit is 0 are pulsed

constexpr uint8_t kSelfTestPassed = 0x55;
constexpr uint8_t kPortTestPassed = 0x00;
constexpr uint8_t kPortTestNoMouse = 0x02;  // "clock line stuck high": nothing is plugged in

// Keyboard commands (port 0x60) and answers.
constexpr uint8_t kKeyboardSetScanCodes = 0xf0;
constexpr uint8_t kKeyboardEcho = 0xee;
constexpr uint8_t kKeyboardIdentify = 0xf2;
constexpr uint8_t kKeyboardReset = 0xff;
constexpr uint8_t kKeyboardAcknowledge = 0xfa;
constexpr uint8_t kKeyboardTestPassed = 0xaa;
constexpr uint8_t kScanCodeSet2 = 0x02;

}  // namespace

uint8_t I8042::read_byte(uint64_t offset) {
  MutexLock lock(mutex_);
  switch (offset) {
    case kDataPort: return read_data();
    case kStatusCommandPort: return status();
    default: return 0xff;
  }
}

void I8042::write_byte(uint64_t offset, uint8_t value) {
  MutexLock lock(mutex_);
  if (offset == kDataPort) {
    last_write_was_command_ = false;
    write_data(value);
  } else if (offset == kStatusCommandPort) {
    last_write_was_command_ = true;
    write_command(value);
  }
}

// The input buffer is never full: every byte is dealt with as it is written.
uint8_t I8042::status() const {
  uint8_t value = kStatusNotLocked;
  if (output_count_ != 0) value |= kStatusOutputFull;
  if (self_tested_) value |= kStatusSystemFlag;
  if (last_write_was_command_) value |= kStatusCommandWritten;
  return value;
}

uint8_t I8042::read_data() {
  if (output_count_ == 0) return last_data_;
  last_data_ = output_[0];
  std::copy(output_.begin() + 1, output_.end(), output_.begin());
  --output_count_;
  interrupt_if_full();
  return last_data_;
}

void I8042::write_command(uint8_t command) {
  parameter_of_ = 0;
  switch (command) {
    case kReadConfiguration: respond(configuration_); break;
    case kSelfTest:
      self_tested_ = true;
      configuration_ |= kConfigurationSystemFlag;
      respond(kSelfTestPassed);
      break;
    case kTestKeyboard: respond(kPortTestPassed); break;
    case kTestMouse: respond(kPortTestNoMouse); break;
    case kDisableMouse: configuration_ |= kConfigurationMouseDisabled; break;
    case kEnableMouse: configuration_ &= static_cast<uint8_t>(~kConfigurationMouseDisabled); break;
    case kDisableKeyboard: configuration_ |= kConfigurationKeyboardDisabled; break;
    case kEnableKeyboard:
      configuration_ &= static_cast<uint8_t>(~kConfigurationKeyboardDisabled);
      break;
    case kReadInputPort: respond(0x80); break;  // keyboard not locked
    case kReadOutputPort:
      respond(output_count_ != 0 ? output_port_ | kOutputPortBufferFull : output_port_);
      break;
    case kWriteConfiguration:
    case kWriteOutputPort:
    case kWriteKeyboardBuffer:
    case kWriteMouseBuffer:
    case kWriteToMouse: parameter_of_ = command; break;
    default:
      if (command >= kPulseOutputPort && (command & kOutputPortNotReset) == 0) events_.reset();
      break;
  }
}

void I8042::write_data(uint8_t value) {
  switch (std::exchange(parameter_of_, 0)) {
    case 0: write_to_keyboard(value); break;
    case kWriteConfiguration:
      configuration_ = value;
      self_tested_ = (value & kConfigurationSystemFlag) != 0;
      interrupt_if_full();
      break;
    case kWriteOutputPort:
      if ((value & kOutputPortNotReset) == 0) events_.reset();
      output_port_ = value | kOutputPortNotReset;
      break;
    // A byte "from the mouse" comes without the mouse flag, which tells a driver at once that
    // there is no mouse port.
    case kWriteKeyboardBuffer:
    case kWriteMouseBuffer: respond(value); break;
    default: break;  // kWriteToMouse: nobody there
  }
}

void I8042::write_to_keyboard(uint8_t value) {
  const uint8_t parameter_of = std::exchange(keyboard_parameter_of_, 0);
  if (parameter_of == kKeyboardSetScanCodes) {
    answer(kKeyboardAcknowledge);
    if (value == 0) answer(kScanCodeSet2);  // 0 asks which set is in use
    return;
  }
  if (value == kKeyboardEcho) return answer(kKeyboardEcho);
  // Parameters of LED and typematic commands are acknowledged just like commands.
  answer(kKeyboardAcknowledge);
  if (value == kKeyboardReset) answer(kKeyboardTestPassed);
  if (value == kKeyboardSetScanCodes) keyboard_parameter_of_ = value;
  if (value == kKeyboardIdentify) {
    // An MF2 keyboard; its second byte as the translation to scan code set 1 shows it, or plain.
    answer(0xab);
    answer((configuration_ & kConfigurationTranslation) != 0 ? 0x41 : 0x83);
  }
}

// The controller's own answers replace what was not read, as in the one-byte buffer of the real
// one.
void I8042::respond(uint8_t value) {
  output_count_ = 0;
  answer(value);
}

void I8042::answer(uint8_t value) {
  if (output_count_ == output_.size()) return;
  output_[output_count_++] = value;
  if (output_count_ == 1) interrupt_if_full();
}

void I8042::interrupt_if_full() {
  if (output_count_ != 0 && (configuration_ & kConfigurationInterrupt) != 0)
    keyboard_interrupt_.trigger();
}

void I8042::save(StateWriter& out) const {
  MutexLock lock(mutex_);
  const auto section = out.section(name(), 1);
  out.bytes(std::span(output_).first(output_count_));
  out.u8(configuration_);
  out.u8(output_port_);
  out.u8(parameter_of_);
  out.u8(keyboard_parameter_of_);
  out.u8(last_data_);
  out.boolean(self_tested_);
  out.boolean(last_write_was_command_);
}

Result<void> I8042::load(StateReader& in) {
  StateReader section = TRY(in.section(name(), 1));
  const std::span<const uint8_t> output = section.bytes(kOutputBytes);
  const uint8_t configuration = section.u8();
  const uint8_t output_port = section.u8();
  const uint8_t parameter_of = section.u8();
  const uint8_t keyboard_parameter_of = section.u8();
  const uint8_t last_data = section.u8();
  const bool self_tested = section.boolean();
  const bool last_write_was_command = section.boolean();
  TRY(section.end());

  MutexLock lock(mutex_);
  std::ranges::copy(output, output_.begin());
  output_count_ = output.size();
  configuration_ = configuration;
  output_port_ = output_port | kOutputPortNotReset;
  parameter_of_ = parameter_of;
  keyboard_parameter_of_ = keyboard_parameter_of;
  last_data_ = last_data;
  self_tested_ = self_tested;
  last_write_was_command_ = last_write_was_command;
  return {};
}

}  // namespace hull::devices
