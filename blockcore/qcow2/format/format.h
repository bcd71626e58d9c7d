// The qcow2 on-disk format in numbers: QEMU docs/interop/qcow2, "Header", "Host cluster
// management", "Cluster mapping". All integers on disk are big endian.
#pragma once

#include <cstdint>

namespace hull::blockcore::qcow2 {

inline constexpr uint32_t kMagic = 0x514649fb;  // "QFI\xfb"

inline constexpr uint32_t kHeaderLengthV2 = 72;
inline constexpr uint32_t kHeaderLengthV3 = 104;
// The first 512 bytes hold every field that is ever changed in place: one sector, never torn.
inline constexpr uint32_t kHeaderSectorBytes = 512;

// Incompatible features: an unknown one means that the image must not be opened.
inline constexpr uint64_t kIncompatibleDirty = 1 << 0;
inline constexpr uint64_t kIncompatibleCorrupt = 1 << 1;
inline constexpr uint64_t kIncompatibleDataFile = 1 << 2;
inline constexpr uint64_t kIncompatibleCompression = 1 << 3;
inline constexpr uint64_t kIncompatibleExtendedL2 = 1 << 4;
inline constexpr uint64_t kIncompatibleKnown = (1 << 5) - 1;
inline constexpr uint64_t kCompatibleLazyRefcounts = 1 << 0;
inline constexpr uint64_t kAutoclearBitmaps = 1 << 0;
inline constexpr uint64_t kAutoclearRawData = 1 << 1;
// Who changes an image clears the others (autoclear_features).
inline constexpr uint64_t kKnownAutoclear = kAutoclearBitmaps | kAutoclearRawData;

// Header extensions.
inline constexpr uint32_t kExtensionEnd = 0;
inline constexpr uint32_t kExtensionBackingFormat = 0xe2792aca;
inline constexpr uint32_t kExtensionFeatureNames = 0x6803f857;
inline constexpr uint32_t kExtensionBitmaps = 0x23852875;
inline constexpr uint32_t kExtensionEncryption = 0x0537be77;
inline constexpr uint32_t kExtensionDataFile = 0x44415441;

// L1, L2 and refcount table entries.
inline constexpr uint64_t kOffsetMask = 0x00fffffffffffe00;          // bits 9-55
inline constexpr uint64_t kRefcountOffsetMask = 0xfffffffffffffe00;  // bits 9-63
inline constexpr uint64_t kCopiedFlag = uint64_t{1} << 63;           // refcount is exactly one
inline constexpr uint64_t kCompressedFlag = uint64_t{1} << 62;
inline constexpr uint64_t kZeroFlag = 1;
inline constexpr uint64_t kL1Reserved = 0x7f000000000001ff;
inline constexpr uint64_t kL2Reserved = 0x3f000000000001fe;

// Limits. The first two are the format's, the rest those of QEMU, so that both accept the same
// images; everything that an image sizes is held against them before memory is allocated.
inline constexpr uint32_t kMaxBackingNameBytes = 1023;
inline constexpr uint32_t kMinClusterBits = 9;
inline constexpr uint32_t kMaxClusterBits = 21;
inline constexpr uint32_t kMinExtendedClusterBits = 14;
inline constexpr uint32_t kMaxRefcountOrder = 6;
inline constexpr uint64_t kMaxL1Bytes = 32 << 20;
inline constexpr uint64_t kMaxRefcountTableBytes = 8 << 20;
inline constexpr uint32_t kMaxSnapshots = 65536;
inline constexpr uint64_t kMaxSnapshotTableBytes = 64 << 20;
inline constexpr uint32_t kMaxSnapshotExtraBytes = 1024;
inline constexpr uint64_t kMaxHostBytes = uint64_t{1} << 56;  // L1 and L2 entries reach no further
inline constexpr uint64_t kMaxGuestBytes = uint64_t{1} << 61;

inline constexpr uint32_t kSubclusters = 32;  // of a cluster with an extended L2 entry

enum class CompressionType : uint8_t { kZlib = 0, kZstd = 1 };

}  // namespace hull::blockcore::qcow2
