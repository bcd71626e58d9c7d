// The words of a machine's description that more than one folder knows, each with the values it may
// have: once for documents, command lines, devices and the block core.
#pragma once

#include <cstdint>
#include <string_view>

namespace hull {

// A value and how people write it.
template <class Value>
struct Word {
  std::string_view word;
  Value value;
};

// Of an image. Guessed from its contents only where its user names a file and nothing else
// (tools/hull/named_image.h).
enum class DiskFormat : uint8_t { kRaw, kQcow2 };
inline constexpr Word<DiskFormat> kDiskFormatWords[] = {{"raw", DiskFormat::kRaw},
                                                        {"qcow2", DiskFormat::kQcow2}};

// What a completed write and a flush mean. The whole chain of a disk has one mode.
enum class CacheMode : uint8_t {
  kWriteback,     // page cache; a flush is fdatasync
  kNone,          // O_DIRECT; a flush is fdatasync
  kWritethrough,  // page cache; flushed after each write
  kDirectsync,    // O_DIRECT; flushed after each write
  kUnsafe,        // page cache; a flush does nothing: a host crash may destroy the image
};
inline constexpr Word<CacheMode> kCacheModeWords[] = {{"none", CacheMode::kNone},
                                                      {"writeback", CacheMode::kWriteback},
                                                      {"writethrough", CacheMode::kWritethrough},
                                                      {"directsync", CacheMode::kDirectsync},
                                                      {"unsafe", CacheMode::kUnsafe}};

// What a discard does: nothing, or give space back.
enum class DiscardMode : uint8_t { kIgnore, kUnmap };
inline constexpr Word<DiscardMode> kDiscardModeWords[] = {{"ignore", DiscardMode::kIgnore},
                                                          {"unmap", DiscardMode::kUnmap}};

// What writes of nothing but zeros become: themselves, write_zeroes, or write_zeroes that may unmap
// (only where discards do; else as kOn).
enum class DetectZeroes : uint8_t { kOff, kOn, kUnmap };
inline constexpr Word<DetectZeroes> kDetectZeroesWords[] = {
    {"off", DetectZeroes::kOff}, {"on", DetectZeroes::kOn}, {"unmap", DetectZeroes::kUnmap}};

// Where the serial line goes.
enum class ConsoleKind : uint8_t { kStdio, kFile, kPty, kUnix, kNull };
inline constexpr Word<ConsoleKind> kConsoleKindWords[] = {{"stdio", ConsoleKind::kStdio},
                                                          {"file", ConsoleKind::kFile},
                                                          {"pty", ConsoleKind::kPty},
                                                          {"unix", ConsoleKind::kUnix},
                                                          {"null", ConsoleKind::kNull}};

}  // namespace hull
