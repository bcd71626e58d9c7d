// What a virtual machine is, however it was described: filled by the domain XML reader or by the
// command line, checked by validate(), const from then on. Plain data; no member points elsewhere.
// Words and defaults are libvirt's (docs/formatdomain); where a default is hull's own it says so.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/limits.h"
#include "base/spec.h"
#include "base/user_network.h"

namespace hull::config {

using hull::CacheMode;
using hull::ConsoleKind;
using hull::DetectZeroes;
using hull::DiscardMode;
using hull::DiskFormat;
using hull::UserNetworkSpec;

enum class EncryptionMethod : uint8_t { kLuks, kAes };  // kAes: of old images, only to read

// An encrypted qcow2 image. The secret itself is never part of a configuration.
struct EncryptionConfig {
  EncryptionMethod method = EncryptionMethod::kLuks;
  std::string secret_id;  // usage or UUID, as secret_id() has it (values.h)
};

// One level of an explicit <backingStore>. The list ends where XML says that the chain ends.
struct BackingLevel {
  std::string file;  // absolute
  DiskFormat format = DiskFormat::kRaw;
  std::optional<EncryptionConfig> encryption = std::nullopt;
};

struct DiskConfig {
  std::string target;  // "vda": unique; orders the disks
  std::string file;    // absolute path of a file or block device, or an NBD URL (network_source.h)
  DiskFormat format = DiskFormat::kRaw;  // as somebody has said, never probed here
  // Absent: the chain that the image headers name. Present (even empty): exactly this chain.
  std::optional<std::vector<BackingLevel>> backing;
  std::optional<EncryptionConfig> encryption = std::nullopt;  // of `file`
  // Of the images that the headers name, nearest first; only without `backing`.
  std::vector<std::optional<EncryptionConfig>> backing_encryption = {};
  CacheMode cache = CacheMode::kWriteback;
  DiscardMode discard = DiscardMode::kIgnore;
  DetectZeroes detect_zeroes = DetectZeroes::kOff;
  bool read_only = false;
  bool cdrom = false;  // for the boot order: it is a read-only virtio disk like others
  bool shareable = false;
  bool transient = false;  // writes go to an overlay that leaves nothing behind
  std::string serial;      // at most kMaxDiskSerialBytes
  unsigned queue_size = 256;
  // Disks of one number share an I/O thread; 0: the one that every machine has.
  unsigned iothread = 0;
  uint32_t logical_block_size = 512;
  uint32_t physical_block_size = 512;
  // Of each qcow2 level's L2 tables in memory; kMinMetadataCacheBytes to kMaxMetadataCacheBytes.
  uint64_t metadata_cache_bytes = kDefaultMetadataCacheBytes;
  std::optional<unsigned> boot_order = std::nullopt;  // from 1; unique
};

enum class NetworkKind : uint8_t { kTap, kBridge, kUser, kNull };

struct NetworkConfig {
  NetworkKind kind = NetworkKind::kTap;
  std::array<uint8_t, 6> mac{};  // all zero: generated from the domain's UUID or name and index
  std::string ifname;            // tap to use or create; empty: the kernel names it
  bool managed = true;           // false: the tap exists already (libvirt's target/@managed='no')
  std::string bridge;            // kBridge: interface to which the tap is added
  std::optional<uint16_t> mtu;
  bool link_up = true;
  UserNetworkSpec user = {};  // kUser
};

struct ConsoleConfig {
  ConsoleKind kind = ConsoleKind::kPty;
  std::string path;      // kFile, kUnix (listening)
  bool append = false;   // kFile
  std::string log_file;  // <log file=…>: a copy of all output, whatever the kind
  bool log_append = true;
};

enum class LifecycleAction : uint8_t { kDestroy, kRestart, kPreserve };

// The bytes are the host kernel's (getrandom).
struct RngConfig {
  uint64_t rate_bytes = 0;  // 0: no limit
  uint32_t rate_period_ms = 1000;
};

enum class BootKind : uint8_t { kKernel, kBuiltinGuest, kBios };
enum class BootDevice : uint8_t { kDisk, kCdrom };

// What the BIOS is told. Where no disk has a boot order of its own, `devices` says which kinds
// are tried; where that is empty too, all disks are, in their order.
struct BiosConfig {
  std::string image;  // absolute; empty: the host's SeaBIOS
  std::vector<BootDevice> devices;
  bool serial_console = true;        // hull's own default: libvirt's BIOS speaks to the screen
  std::optional<uint32_t> menu_ms;   // bootmenu: the prompt stays so long
  std::optional<uint32_t> retry_ms;  // bios/@rebootTimeout; none: it stays where it is
};

struct BootConfig {
  BootKind kind = BootKind::kKernel;
  std::string kernel;   // absolute; bzImage or ELF with a PVH note
  std::string initrd;   // empty: none
  std::string cmdline;  // passed as it is: hull adds nothing
  BiosConfig bios;
};

// What the guest's CMOS clock shows when it is switched on.
struct ClockConfig {
  enum class Base : uint8_t { kUtc, kLocaltime, kAbsolute };
  Base base = Base::kUtc;
  int64_t seconds = 0;  // added to it; kAbsolute: since 1970
};

struct DomainConfig {
  std::string name;
  std::string uuid;  // canonical lower-case text; generated where absent
  uint64_t memory_bytes = 0;
  unsigned vcpus = 1;         // maximum
  unsigned vcpus_online = 1;  // at boot
  BootConfig boot;
  std::vector<DiskConfig> disks;  // in device order
  std::vector<NetworkConfig> networks;
  std::optional<ConsoleConfig> console;  // absent: stdio for `run`
  std::optional<RngConfig> rng;
  bool panic_device = false;
  ClockConfig clock;
  LifecycleAction on_poweroff = LifecycleAction::kDestroy;
  LifecycleAction on_reboot = LifecycleAction::kRestart;
  LifecycleAction on_crash = LifecycleAction::kDestroy;
  bool dump_guest_core = true;  // memory/@dumpCore
  bool memory_locked = false;
  bool memory_hugepages = false;
  // cpu/feature, by libvirt's names (base/x86_cpu_features.h).
  std::vector<std::string> disabled_cpu_features;  // policy=disable
  std::vector<std::string> required_cpu_features;  // policy=require or force: an error without
  bool pmu = false;                                // features/pmu: performance counters
};

}  // namespace hull::config
