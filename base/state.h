// State that can be handed out and taken back: of devices, queues, interrupt controllers and vCPUs.
//
// A saved machine is a sequence of sections. Each has a name, a version and a length, and holds
// fields or further sections in a fixed order; numbers are little-endian. The name says whose state
// it is ("serial0"), the version which fields follow. Nothing describes the fields themselves: the
// code that reads a version is the description of it, so a change of the fields is a new version.
//
// What is read back may be hostile. A reader never allocates, never reads outside its section, and
// bounds every count and length before it hands it out.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/result.h"

namespace hull {

class StateWriter {
 public:
  // An open section; its length is filled in when it dies. Sections nest.
  class [[nodiscard]] Section {
   public:
    Section(StateWriter& writer, size_t start) : writer_(writer), start_(start) {}
    Section(const Section&) = delete;
    Section& operator=(const Section&) = delete;
    ~Section() { writer_.close(start_); }

   private:
    StateWriter& writer_;
    size_t start_;
  };

  static constexpr size_t kMaxNameBytes = 255;

  // `name` has 1 to kMaxNameBytes bytes, `version` counts from 1.
  Section section(std::string_view name, uint32_t version);

  void boolean(bool value) { u8(value ? 1 : 0); }
  void u8(uint8_t value) { number(value, 1); }
  void u16(uint16_t value) { number(value, 2); }
  void u32(uint32_t value) { number(value, 4); }
  void u64(uint64_t value) { number(value, 8); }
  void i64(int64_t value) { number(static_cast<uint64_t>(value), 8); }
  // With their length in front.
  void bytes(std::span<const uint8_t> value);
  void text(std::string_view value);
  // A structure of the host's interface (struct kvm_regs) as it is.
  template <class T>
  void object(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    bytes({reinterpret_cast<const uint8_t*>(&value), sizeof value});
  }

  // All sections are closed.
  std::vector<uint8_t> finish() &&;

 private:
  void number(uint64_t value, unsigned size_bytes);
  void close(size_t start);

  std::vector<uint8_t> bytes_;
  unsigned open_sections_ = 0;
};

// Reads the fields of one section, or the sections of a whole. After a field that is not there or
// breaks its bound all further ones are zero or empty; end() then tells what was wrong first. So
// whoever loads reads everything into variables, calls end(), checks, and only then changes itself:
//
//   StateReader in = TRY(outer.section("acpi-pm", 1));
//   const uint16_t status = in.u16();
//   TRY(in.end());
class StateReader {
 public:
  // `bytes` is borrowed by the reader and by all that it hands out.
  explicit StateReader(std::span<const uint8_t> bytes) : StateReader("state", 0, bytes) {}

  // The next section, which must have this name and a version of 1 to `newest`. The caller reads
  // it to its end.
  Result<StateReader> section(std::string_view name, uint32_t newest);
  // The next thing is a section of this name: for those that may be absent.
  bool next_is(std::string_view name) const;

  uint32_t version() const { return version_; }

  bool boolean();  // 0 or 1
  uint8_t u8() { return static_cast<uint8_t>(number(1)); }
  uint16_t u16() { return static_cast<uint16_t>(number(2)); }
  uint32_t u32() { return static_cast<uint32_t>(number(4)); }
  uint64_t u64() { return number(8); }
  int64_t i64() { return static_cast<int64_t>(number(8)); }
  // A number of things to follow.
  uint32_t count(uint32_t maximum);
  std::span<const uint8_t> bytes(size_t maximum);
  // Exactly as many as `destination` has.
  void bytes_into(std::span<uint8_t> destination);
  std::string_view text(size_t maximum);
  template <class T>
  T object() {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    bytes_into({reinterpret_cast<uint8_t*>(&value), sizeof value});
    return value;
  }

  // What a caller found wrong with a value; the first complaint counts.
  void reject(std::string_view why);
  // kCorrupt unless everything was there, within bounds, and nothing is left over.
  Result<void> end() const;

 private:
  StateReader(std::string_view name, uint32_t version, std::span<const uint8_t> bytes)
      : name_(name), version_(version), bytes_(bytes) {}
  std::span<const uint8_t> take(size_t size_bytes);
  uint64_t number(unsigned size_bytes);
  std::string_view next_name() const;
  Error corrupt(std::string_view why) const;

  std::string_view name_;
  uint32_t version_;
  std::span<const uint8_t> bytes_;
  size_t at_ = 0;
  std::string wrong_;  // empty: nothing so far
};

// Whoever has state to save. Both work on one that nobody else is using: vCPUs and I/O threads
// are paused.
class Stateful {
 public:
  virtual ~Stateful() = default;
  // Writes one section.
  virtual void save(StateWriter& out) const = 0;
  // Reads the section that save() wrote, into an object that was built in the same way. After an
  // error the object is as it was.
  virtual Result<void> load(StateReader& in) = 0;
};

}  // namespace hull
