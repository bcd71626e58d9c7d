#include <array>
#include <cstdio>
#include <cstring>
#include <map>
#include <set>
#include <string>

#include "firmware/acpi_header.h"
#include "firmware/acpi_structs.h"
#include "firmware/aml.h"
#include "firmware/x86/acpi.h"
#include "firmware/x86/firmware_tables.h"
#include "firmware/x86/table_area.h"
#include "tests/support/boot_images.h"

namespace hull::firmware {
namespace {

using testing::peek;
using testing::peek_bytes;

unsigned sum(const std::vector<uint8_t>& bytes) {
  unsigned total = 0;
  for (const uint8_t byte : bytes) total += byte;
  return total & 0xff;
}

// Walks the tables as an operating system would.
class AcpiTables : public ::testing::Test {
 protected:
  void write() {
    const auto rsdp = write_firmware_tables(memory_, platform_);
    ASSERT_TRUE(rsdp.has_value());
    rsdp_ = *rsdp;
    const uint64_t xsdt = peek(memory_, rsdp_ + 24, 8);
    for (uint64_t at = xsdt + 36; at < xsdt + peek(memory_, xsdt + 4, 4); at += 8) {
      const uint64_t table = peek(memory_, at, 8);
      tables_[text(table, 4)] = table;
    }
    tables_["XSDT"] = xsdt;
    tables_["DSDT"] = peek(memory_, tables_["FACP"] + 140, 8);
  }
  std::string text(uint64_t address, size_t size) {
    const auto bytes = peek_bytes(memory_, address, size);
    return {bytes.begin(), bytes.end()};
  }
  std::vector<uint8_t> table(const std::string& signature) {
    const uint64_t address = tables_.at(signature);
    return peek_bytes(memory_, address, peek(memory_, address + 4, 4));
  }
  uint64_t fadt(size_t offset, size_t size) {
    return peek(memory_, tables_["FACP"] + offset, size);
  }
  // The MADT's entries of `type`, each with its header.
  std::vector<std::vector<uint8_t>> madt_entries(uint8_t type) {
    std::vector<std::vector<uint8_t>> found;
    const auto madt = table("APIC");
    for (size_t at = 44; at < madt.size(); at += madt[at + 1]) {
      if (madt[at] != type) continue;
      const auto start = madt.begin() + static_cast<std::ptrdiff_t>(at);
      found.emplace_back(start, start + madt[at + 1]);
    }
    return found;
  }

  GuestMemory memory_ = testing::guest_memory(2);
  Platform platform_ = testing::platform();
  uint64_t rsdp_ = 0;
  std::map<std::string, uint64_t> tables_;
};

TEST_F(AcpiTables, RsdpIsWhereItIsSearchedAndSumsToZero) {
  write();
  EXPECT_EQ(rsdp_ % 16, 0u);
  EXPECT_GE(rsdp_, 0xe0000u);
  EXPECT_EQ(text(rsdp_, 8), "RSD PTR ");
  EXPECT_EQ(sum(peek_bytes(memory_, rsdp_, 20)), 0u);
  EXPECT_EQ(sum(peek_bytes(memory_, rsdp_, 36)), 0u);
  EXPECT_EQ(peek(memory_, rsdp_ + 15, 1), 2u);
}

TEST_F(AcpiTables, EveryTableSumsToZero) {
  write();
  ASSERT_EQ(tables_.size(), 4u);
  for (const auto& [signature, address] : tables_) {
    EXPECT_EQ(text(address, 4), signature);
    EXPECT_EQ(sum(table(signature)), 0u) << signature;
  }
}

TEST_F(AcpiTables, FadtDescribesFixedHardware) {
  write();
  EXPECT_EQ(table("FACP").size(), 276u);
  EXPECT_EQ(fadt(46, 2), 9u);      // SCI_INT
  EXPECT_EQ(fadt(48, 4), 0u);      // SMI_CMD: always in ACPI mode
  EXPECT_EQ(fadt(56, 4), 0x600u);  // PM1a_EVT_BLK
  EXPECT_EQ(fadt(88, 1), 4u);      // PM1_EVT_LEN
  EXPECT_EQ(fadt(64, 4), 0x604u);  // PM1a_CNT_BLK
  EXPECT_EQ(fadt(89, 1), 2u);      // PM1_CNT_LEN
  EXPECT_EQ(fadt(76, 4), 0u);      // no PM_TMR_BLK
  EXPECT_EQ(fadt(91, 1), 0u);      // PM_TMR_LEN
  EXPECT_EQ(fadt(112, 4), 0x1565u);
  EXPECT_EQ(fadt(109, 2), 0x5u);  // legacy devices, no VGA; no 8042
  EXPECT_EQ(fadt(116, 1), 1u);    // RESET_REG is an I/O port
  EXPECT_EQ(fadt(120, 8), 0xcf9u);
  EXPECT_EQ(fadt(128, 1), 6u);
  EXPECT_EQ(fadt(152, 8), 0x600u);  // X_PM1a_EVT_BLK
  EXPECT_EQ(fadt(176, 8), 0x604u);  // X_PM1a_CNT_BLK
  EXPECT_EQ(fadt(40, 4), fadt(140, 8));
  const uint64_t facs = fadt(36, 4);
  EXPECT_EQ(facs % 64, 0u);
  EXPECT_EQ(text(facs, 4), "FACS");
}

TEST_F(AcpiTables, FadtFollowsThePlatform) {
  platform_.power->timer_port = 0x608;
  platform_.keyboard_controller = true;
  platform_.serial.reset();
  platform_.rtc.reset();
  platform_.reset.reset();
  write();
  EXPECT_EQ(fadt(76, 4), 0x608u);
  EXPECT_EQ(fadt(91, 1), 4u);
  EXPECT_EQ(fadt(109, 2), 0x26u);
  EXPECT_EQ(fadt(112, 4), 0x1165u);
  EXPECT_EQ(fadt(120, 8), 0u);
}

TEST_F(AcpiTables, MadtListsProcessorsAndInterruptRouting) {
  platform_.apic_ids = {0, 2, 4};
  write();
  EXPECT_EQ(peek(memory_, tables_["APIC"] + 36, 4), 0xfee00000u);
  EXPECT_EQ(peek(memory_, tables_["APIC"] + 40, 4), 1u);
  EXPECT_EQ(madt_entries(0),
            (std::vector<std::vector<uint8_t>>{
                {0, 8, 0, 0, 1, 0, 0, 0}, {0, 8, 1, 2, 1, 0, 0, 0}, {0, 8, 2, 4, 0, 0, 0, 0}}));
  EXPECT_EQ(madt_entries(1),
            (std::vector<std::vector<uint8_t>>{{1, 12, 0, 0, 0x00, 0x00, 0xc0, 0xfe, 0, 0, 0, 0}}));
  EXPECT_EQ(madt_entries(2), (std::vector<std::vector<uint8_t>>{{2, 10, 0, 0, 2, 0, 0, 0, 0, 0},
                                                                {2, 10, 0, 9, 9, 0, 0, 0, 13, 0}}));
  EXPECT_EQ(madt_entries(4), (std::vector<std::vector<uint8_t>>{{4, 6, 0xff, 0, 0, 1}}));
  EXPECT_TRUE(madt_entries(9).empty());
}

TEST_F(AcpiTables, HighApicIdsGetX2ApicEntries) {
  platform_.apic_ids = {0, 254, 255, 70000};
  platform_.online_vcpus = 4;
  write();
  EXPECT_EQ(madt_entries(0).size(), 2u);
  const auto x2apic = madt_entries(9);
  ASSERT_EQ(x2apic.size(), 2u);
  EXPECT_EQ(x2apic[1],
            (std::vector<uint8_t>{9, 16, 0, 0, 0x70, 0x11, 1, 0, 1, 0, 0, 0, 3, 0, 0, 0}));
  EXPECT_EQ(madt_entries(10).size(), 1u);
}

TEST_F(AcpiTables, DefaultRoutingNeedsNoTimerOverride) {
  platform_.timer_gsi = 0;
  write();
  EXPECT_EQ(madt_entries(2).size(), 1u);
}

// What nobody has built is in no table.
TEST_F(AcpiTables, AnEmptyPlatformNamesNoDevice) {
  platform_ = Platform{};
  platform_.apic_ids = {0};
  write();
  EXPECT_EQ(fadt(56, 4), 0u);      // PM1a_EVT_BLK
  EXPECT_EQ(fadt(109, 2), 0x24u);  // no VGA, no CMOS clock
  EXPECT_EQ(fadt(112, 4) & 1u << 10, 0u);
  const auto dsdt = table("DSDT");
  const std::string names(dsdt.begin(), dsdt.end());
  for (const char* name : {"COM1", "RTC_", "KBD_", "PEVT", "V000", "_S5_"})
    EXPECT_EQ(names.find(name), std::string::npos) << name;
}

// An independent interpreter of the script does what the direct way does.
TEST_F(AcpiTables, TableLoaderScriptGivesTheSameTables) {
  const AcpiBlobs blobs = build_acpi(platform_);
  const std::map<std::string, uint64_t> place = {{"etc/acpi/tables", 0x7fe3040},
                                                 {"etc/acpi/rsdp", 0xf5a20}};
  std::map<std::string, std::vector<uint8_t>> files;
  for (const AcpiBlob& blob : blobs.blobs) files[blob.name] = blob.bytes;
  const std::vector<uint8_t> script = to_table_loader(blobs);
  ASSERT_EQ(script.size() % 128, 0u);
  std::set<std::string> allocated;
  for (size_t at = 0; at < script.size(); at += 128) {
    const auto number = [&](size_t offset) {
      uint32_t value = 0;
      std::memcpy(&value, &script[at + offset], sizeof value);
      return value;
    };
    const auto name = [&](size_t offset) {
      return std::string(reinterpret_cast<const char*>(&script[at + offset]));
    };
    ASSERT_TRUE(files.contains(name(4)));
    std::vector<uint8_t>& file = files[name(4)];
    switch (number(0)) {
      case 1:  // allocate
        allocated.insert(name(4));
        EXPECT_EQ(place.at(name(4)) % number(60), 0u);
        EXPECT_EQ(script[at + 64], name(4) == "etc/acpi/rsdp" ? 2 : 1);
        break;
      case 2: {  // add a pointer
        ASSERT_TRUE(allocated.contains(name(4)) && allocated.contains(name(60)));
        uint64_t value = 0;
        const uint8_t width = script[at + 120];
        ASSERT_LE(number(116) + width, file.size());
        std::memcpy(&value, &file[number(116)], width);
        EXPECT_LT(value, files[name(60)].size());
        value += place.at(name(60));
        std::memcpy(&file[number(116)], &value, width);
        break;
      }
      case 3: {  // add a checksum
        ASSERT_LE(number(64) + number(68), file.size());
        uint8_t total = 0;
        for (uint32_t i = 0; i < number(68); ++i)
          total = static_cast<uint8_t>(total + file[number(64) + i]);
        file[number(60)] = static_cast<uint8_t>(file[number(60)] - total);
        break;
      }
      default: FAIL() << "command " << number(0);
    }
  }
  AcpiBlobs direct = build_acpi(platform_);
  resolve(direct, std::array{place.at("etc/acpi/tables"), place.at("etc/acpi/rsdp")});
  EXPECT_EQ(files["etc/acpi/tables"], direct.blobs[kAcpiTablesBlob].bytes);
  EXPECT_EQ(files["etc/acpi/rsdp"], direct.blobs[kAcpiRsdpBlob].bytes);
  EXPECT_EQ(sum(files["etc/acpi/rsdp"]), 0u);
}

std::string run(const std::string& command) {
  std::string output;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return output;
  char buffer[4096];
  while (const size_t count = ::fread(buffer, 1, sizeof buffer, pipe)) output.append(buffer, count);
  ::pclose(pipe);
  return output;
}

// An independent reader: iasl takes each table apart, and makes the same bytes of the DSDT's
// source.
class Iasl : public AcpiTables {
 protected:
  void SetUp() override {
    if (run("iasl -v").find("Disassembler") == std::string::npos)
      GTEST_SKIP() << "iasl (package acpica-tools) is not installed";
    char directory[] = "/tmp/hull-acpi-XXXXXX";
    ASSERT_NE(::mkdtemp(directory), nullptr);
    directory_ = directory;
  }
  void TearDown() override {
    if (!directory_.empty()) run("rm -r " + directory_);
  }
  std::string disassemble(const std::string& signature) {
    write_file(signature + ".aml", table(signature));
    const std::string log = run("cd " + directory_ + " && iasl -d " + signature + ".aml");
    EXPECT_EQ(log.find("rror"), std::string::npos) << log;
    EXPECT_EQ(log.find("arning"), std::string::npos) << log;
    return run("cat " + directory_ + "/" + signature + ".dsl");
  }
  void write_file(const std::string& name, const std::vector<uint8_t>& bytes) {
    FILE* file = ::fopen((directory_ + "/" + name).c_str(), "wb");
    ASSERT_NE(file, nullptr);
    ::fwrite(bytes.data(), 1, bytes.size(), file);
    ::fclose(file);
  }
  std::string directory_;
};

TEST_F(Iasl, DsdtDisassemblesToItsDevices) {
  platform_.panic_port = 0x505;
  platform_.keyboard_controller = true;
  write();
  const std::string source = disassemble("DSDT");
  for (const char* expected :
       {"Device (C001)", "\"ACPI0007\"", "Device (V001)", "\"LNRO0005\"", "0xD0001000",
        "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive", "0x00000010",
        "EisaId (\"PNP0501\")", "0x03F8", "EisaId (\"PNP0B00\")", "EisaId (\"PNP0303\")",
        "\"QEMU0001\"", "0x0505", "Name (_S5, Package (0x04)"})
    EXPECT_NE(source.find(expected), std::string::npos) << expected << "\n" << source;
}

TEST_F(Iasl, DsdtRecompilesToTheSameBytes) {
  platform_.panic_port = 0x505;
  platform_.keyboard_controller = true;
  write();
  disassemble("DSDT");
  const std::string log = run("cd " + directory_ + " && iasl -p again DSDT.dsl");
  EXPECT_NE(log.find("0 Errors, 0 Warnings"), std::string::npos) << log;
  // All but the compiler's name and revision in the header, and the checksum over them.
  EXPECT_EQ(run("cd " + directory_ + " && cmp -i 36 DSDT.aml again.aml"), "");
}

// A root bridge as PCI will describe it: windows and a routing table of nested packages.
TEST_F(Iasl, WindowsAndNestedPackagesDisassemble) {
  AmlWriter aml;
  {
    const auto bus = aml.scope("_SB");
    const auto bridge = aml.device("PCI0");
    aml.name_eisa_id("_HID", "PNP0A08");
    aml.name_resources("_CRS", AmlResources()
                                   .bus_window(0, 255)
                                   .io(0xcf8, 8)
                                   .io_window(0, 0xcf7)
                                   .memory32_window(0xc0000000, 0xfebfffff)
                                   .memory64_window(0x100000000, 0x1ffffffff));
    const auto routes = aml.name_package("_PRT", 2);
    for (uint64_t pin = 0; pin < 2; ++pin) {
      const auto route = aml.package(4);
      for (const uint64_t value : {uint64_t{0xffff}, pin, uint64_t{0}, 16 + pin})
        aml.element(value);
    }
  }
  std::vector<uint8_t> dsdt(sizeof(AcpiHeader));
  dsdt.insert(dsdt.end(), aml.bytes().begin(), aml.bytes().end());
  const AcpiHeader header = acpi_header("DSDT", dsdt.size(), 2);
  std::memcpy(dsdt.data(), &header, sizeof header);
  dsdt[9] = static_cast<uint8_t>(256 - sum(dsdt));
  write_file("PCI.aml", dsdt);
  const std::string log = run("cd " + directory_ + " && iasl -d PCI.aml");
  EXPECT_EQ(log.find("rror"), std::string::npos) << log;
  const std::string source = run("cat " + directory_ + "/PCI.dsl");
  for (const char* expected :
       {"WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode", "WordIO (",
        "DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite",
        "QWordMemory (", "Package (0x02)", "Package (0x04)"})
    EXPECT_NE(source.find(expected), std::string::npos) << expected << "\n" << source;
  const std::string again = run("cd " + directory_ + " && iasl -p again PCI.dsl");
  EXPECT_NE(again.find("0 Errors"), std::string::npos) << again;
  EXPECT_EQ(run("cd " + directory_ + " && cmp -i 36 PCI.aml again.aml"), "");
}

TEST_F(Iasl, DataTablesDisassembleWithoutComplaint) {
  platform_.apic_ids = {0, 300};
  write();
  EXPECT_NE(disassemble("FACP").find("PM1A Control Block Address : 00000604"), std::string::npos);
  EXPECT_NE(disassemble("APIC").find("Processor x2Apic ID : 0000012C"), std::string::npos);
  disassemble("XSDT");
}

}  // namespace
}  // namespace hull::firmware
