// The limits of a machine's description: each stands here once, for config::validate(), the devices
// and loaders that rely on it, and the help texts.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace hull {

// Memory of a guest, in bytes.
inline constexpr uint64_t kMemoryGranularity = 4096;
inline constexpr uint64_t kMinMemoryBytes = uint64_t{2} << 20;
inline constexpr uint32_t kDefaultBootMenuMs = 2500;  // SeaBIOS's own
inline constexpr uint32_t kMaxBootWaitMs = 65535;     // of its menu and before it starts again
inline constexpr uint64_t kMaxMemoryBytes = uint64_t{1} << 46;  // what x86-64 hosts address at most

// Above it the firmware tables would not fit below 1 MiB; KVM's own usual limit is the same. The
// host's may be lower.
inline constexpr unsigned kMaxVcpus = 1024;
inline constexpr size_t kMaxCpuFeatures = 256;
inline constexpr size_t kMaxCommandLineBytes = 4095;  // of a kernel; its own limit may be lower

// Disks, interfaces and the random number device together: each has an interrupt line of its own,
// and edge lines cannot be shared (vmm/x86/layout.h).
inline constexpr size_t kMaxVirtioDevices = 16;

// How long devices have to answer what is in flight, before a pause is called off: more than a slow
// disk needs for the requests that one device takes at a time.
inline constexpr std::chrono::milliseconds kPausePatience{10'000};

inline constexpr size_t kMaxNameBytes = 200;  // of a domain: it becomes part of file names
inline constexpr size_t kMaxPathBytes = 4095;

// A disk.
inline constexpr size_t kMaxBackingDepth = 64;
inline constexpr size_t kMaxDiskSerialBytes = 20;  // virtio 1.2, 5.2.6.2 (VIRTIO_BLK_T_GET_ID)
inline constexpr unsigned kMaxQueues = 64;
// Of a block queue, a power of two: a request has a header, a status and at least one segment.
inline constexpr unsigned kMinQueueSize = 4;
inline constexpr unsigned kMaxQueueSize = 1024;
// Block sizes are powers of two.
inline constexpr uint32_t kMinBlockBytes = 512;
inline constexpr uint32_t kMaxLogicalBlockBytes = 4096;
inline constexpr uint32_t kMaxPhysicalBlockBytes = 32768;
// Of each qcow2 level's L2 tables in memory. The default maps 64 GiB in clusters of 64 KiB, and is
// allocated as it is used.
inline constexpr uint64_t kDefaultMetadataCacheBytes = uint64_t{8} << 20;
inline constexpr uint64_t kMinMetadataCacheBytes = uint64_t{64} << 10;
inline constexpr uint64_t kMaxMetadataCacheBytes = uint64_t{4} << 30;

// An interface.
inline constexpr uint16_t kMinMtu = 68;  // virtio 1.2, 5.1.4.1
inline constexpr uint16_t kMaxMtu = 65535;
inline constexpr size_t kMaxInterfaceNameBytes = 15;  // IFNAMSIZ without its NUL

// One in user mode. Longer frames may be cut on their way, which the other side does not survive
// (virtio/user/frame_stream.h).
inline constexpr uint16_t kMaxUserMtu = 32768;
inline constexpr uint16_t kUserMtu = 32000;  // hull's own default
inline constexpr unsigned kMinUserPrefix = 8;
inline constexpr unsigned kMaxUserPrefix = 30;     // room for guest and gateway
inline constexpr size_t kMaxPublishedPorts = 256;  // each has a socket
inline constexpr size_t kMaxUserResolvers = 3;     // MAXNS of resolv.conf(5)

}  // namespace hull
