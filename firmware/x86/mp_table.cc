#include "firmware/x86/mp_table.h"

#include <algorithm>
#include <cstring>

#include "base/endian.h"
#include "firmware/x86/platform.h"
#include "firmware/x86/table_area.h"

namespace hull::firmware {

namespace {

constexpr uint8_t kSpecRevision = 4;  // 1.4
constexpr uint32_t kLastApicId = 254;
constexpr uint8_t kAllApics = 0xff;
constexpr uint8_t kIsaBus = 0;
constexpr uint8_t kIoApicVersion = 0x11;
constexpr uint8_t kLocalApicVersion = 0x14;

constexpr uint8_t kEnabled = 1;  // processor and I/O APIC entries
constexpr uint8_t kBootProcessor = 2;

constexpr uint8_t kVectored = 0;  // interrupt types
constexpr uint8_t kNmi = 1;
constexpr uint8_t kExternal = 3;
constexpr uint16_t kConforms = 0;  // ISA: edge-triggered, active high
constexpr uint16_t kActiveHighLevel = 0xd;

struct FloatingPointer {
  char signature[4];
  Le32 table;
  uint8_t length;  // in 16-byte units
  uint8_t revision;
  uint8_t checksum;
  uint8_t features[5];
};
static_assert(sizeof(FloatingPointer) == kMpPointerBytes);

struct TableHeader {
  char signature[4];
  Le16 length;
  uint8_t revision;
  uint8_t checksum;
  char oem_id[8];
  char product_id[12];
  Le32 oem_table;
  Le16 oem_table_size;
  Le16 entry_count;
  Le32 local_apic;
  Le16 extended_length;
  uint8_t extended_checksum;
  uint8_t reserved;
};
static_assert(sizeof(TableHeader) == 44);

struct Processor {
  uint8_t type = 0;
  uint8_t apic_id;
  uint8_t apic_version = kLocalApicVersion;
  uint8_t flags;
  Le32 signature = 0x600;  // family 6; operating systems read CPUID instead
  Le32 features = 0x201;   // FPU, APIC
  Le32 reserved[2] = {};
};
static_assert(sizeof(Processor) == 20);

struct BusEntry {
  uint8_t type = 1;
  uint8_t id;
  char name[6];
};
static_assert(sizeof(BusEntry) == 8);

struct IoApic {
  uint8_t type = 2;
  uint8_t id;
  uint8_t version = kIoApicVersion;
  uint8_t flags = kEnabled;
  Le32 address;
};
static_assert(sizeof(IoApic) == 8);

struct Interrupt {
  uint8_t type;  // 3: I/O APIC, 4: local APIC
  uint8_t interrupt_type;
  Le16 flags;
  uint8_t source_bus;
  uint8_t source_irq;
  uint8_t destination_apic;
  uint8_t destination_pin;
};
static_assert(sizeof(Interrupt) == 8);

class Entries {
 public:
  template <class T>
  void add(const T& entry) {
    const auto bytes = bytes_of(entry);
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    ++count_;
  }
  uint16_t count() const { return count_; }
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
  uint16_t count_ = 0;
};

void add_processors(const Platform& platform, Entries& entries) {
  for (size_t i = 0; i < platform.apic_ids.size(); ++i) {
    if (platform.apic_ids[i] > kLastApicId) break;  // they ascend
    const uint8_t enabled = i < platform.online_vcpus ? kEnabled : 0;
    const uint8_t boot = i == 0 ? kBootProcessor : 0;
    entries.add(Processor{.apic_id = static_cast<uint8_t>(platform.apic_ids[i]),
                          .flags = static_cast<uint8_t>(enabled | boot)});
  }
}

void add_isa_interrupt(const Platform& platform, uint32_t irq, uint32_t pin, Entries& entries) {
  const bool is_sci = platform.power && platform.power->sci_gsi == irq;
  entries.add(Interrupt{.type = 3,
                        .interrupt_type = kVectored,
                        .flags = is_sci ? kActiveHighLevel : kConforms,
                        .source_bus = kIsaBus,
                        .source_irq = static_cast<uint8_t>(irq),
                        .destination_apic = platform.io_apic_id,
                        .destination_pin = static_cast<uint8_t>(pin)});
}

void add_interrupts(const Platform& platform, Entries& entries) {
  add_isa_interrupt(platform, 0, platform.timer_gsi, entries);
  for (uint32_t irq = 1; irq < 16; ++irq)
    if (irq != platform.timer_gsi) add_isa_interrupt(platform, irq, irq, entries);
  // There is no bus that virtio-mmio belongs to: as ISA interrupts from 16 up they keep their
  // number, edge trigger and polarity.
  std::vector<uint32_t> high;
  for (const VirtioMmioSlot& slot : platform.virtio_mmio)
    if (slot.gsi >= 16 && slot.gsi < kIoApicPins) high.push_back(slot.gsi);
  std::ranges::sort(high);
  high.erase(std::unique(high.begin(), high.end()), high.end());
  for (const uint32_t gsi : high) add_isa_interrupt(platform, gsi, gsi, entries);

  for (const auto& [kind, pin] : {std::pair(kExternal, uint8_t{0}), std::pair(kNmi, uint8_t{1})})
    entries.add(Interrupt{.type = 4,
                          .interrupt_type = kind,
                          .flags = kConforms,
                          .source_bus = kIsaBus,
                          .source_irq = 0,
                          .destination_apic = kAllApics,
                          .destination_pin = pin});
}

}  // namespace

void append_mp_table(TableArea& area, const Platform& platform, uint64_t pointer) {
  Entries entries;
  add_processors(platform, entries);
  entries.add(BusEntry{.id = kIsaBus, .name = {'I', 'S', 'A', ' ', ' ', ' '}});
  entries.add(IoApic{.id = platform.io_apic_id,
                     .address = static_cast<uint32_t>(to_number(platform.io_apic))});
  add_interrupts(platform, entries);

  TableHeader header{};
  std::memcpy(header.signature, "PCMP", sizeof header.signature);
  header.length = static_cast<uint16_t>(sizeof header + entries.bytes().size());
  header.revision = kSpecRevision;
  std::memcpy(header.oem_id, "HULL    ", sizeof header.oem_id);
  std::memcpy(header.product_id, "HULLVM      ", sizeof header.product_id);
  header.entry_count = entries.count();
  header.local_apic = static_cast<uint32_t>(to_number(platform.local_apic));
  // The checksum covers header and entries; the two parts simply add up.
  header.checksum = static_cast<uint8_t>(checksum(bytes_of(header)) + checksum(entries.bytes()));
  const uint64_t table = area.append(bytes_of(header), 16);
  area.append(entries.bytes(), 1);

  FloatingPointer floating{};
  std::memcpy(floating.signature, "_MP_", sizeof floating.signature);
  floating.table = static_cast<uint32_t>(table);
  floating.length = 1;
  floating.revision = kSpecRevision;
  floating.checksum = checksum(bytes_of(floating));
  area.put(pointer, bytes_of(floating));
}

}  // namespace hull::firmware
