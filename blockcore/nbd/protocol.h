// The NBD protocol on the wire (NetworkBlockDevice/nbd doc/proto.md): numbers and messages that
// server and client share. Everything is big-endian; there is no TLS here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/endian.h"

namespace hull::blockcore::nbd {

inline constexpr uint64_t kInitMagic = 0x4e42444d41474943;    // "NBDMAGIC"
inline constexpr uint64_t kOptionMagic = 0x49484156454f5054;  // "IHAVEOPT"
inline constexpr uint64_t kOptionReplyMagic = 0x0003e889045565a9;
inline constexpr uint32_t kRequestMagic = 0x25609513;
inline constexpr uint32_t kSimpleReplyMagic = 0x67446698;
inline constexpr uint32_t kStructuredReplyMagic = 0x668e33ef;

inline constexpr uint16_t kDefaultPort = 10809;
inline constexpr uint32_t kMaxStringBytes = 4096;       // of names and messages
inline constexpr uint32_t kMaxDataBytes = 32U << 20;    // payload of one read or write
inline constexpr uint32_t kMaxOptionBytes = 64U << 10;  // data of an option or of its reply

// Handshake flags of the server, and the client's answers.
inline constexpr uint16_t kFixedNewstyle = 1U << 0;
inline constexpr uint16_t kNoZeroes = 1U << 1;
inline constexpr size_t kExportNameZeroes = 124;

// Transmission flags.
inline constexpr uint16_t kHasFlags = 1U << 0;
inline constexpr uint16_t kReadOnly = 1U << 1;
inline constexpr uint16_t kSendFlush = 1U << 2;
inline constexpr uint16_t kSendFua = 1U << 3;
inline constexpr uint16_t kSendTrim = 1U << 5;
inline constexpr uint16_t kSendWriteZeroes = 1U << 6;
inline constexpr uint16_t kSendDf = 1U << 7;
inline constexpr uint16_t kCanMultiConn = 1U << 8;
inline constexpr uint16_t kSendCache = 1U << 10;
inline constexpr uint16_t kSendFastZero = 1U << 11;

enum class Option : uint32_t {
  kExportName = 1,
  kAbort = 2,
  kList = 3,
  kStartTls = 5,
  kInfo = 6,
  kGo = 7,
  kStructuredReply = 8,
  kListMetaContext = 9,
  kSetMetaContext = 10,
};

enum class OptionReply : uint32_t {
  kAck = 1,
  kServer = 2,
  kInfo = 3,
  kMetaContext = 4,
  kErrUnsupported = 0x80000001,
  kErrPolicy = 0x80000002,
  kErrInvalid = 0x80000003,
  kErrTlsRequired = 0x80000005,
  kErrUnknown = 0x80000006,
  kErrTooBig = 0x80000009,
};
inline constexpr uint32_t kOptionReplyErrorBit = 1U << 31;

// Pieces of NBD_REP_INFO.
inline constexpr uint16_t kInfoExport = 0;
inline constexpr uint16_t kInfoName = 1;
inline constexpr uint16_t kInfoDescription = 2;
inline constexpr uint16_t kInfoBlockSize = 3;

enum class Command : uint16_t {
  kRead = 0,
  kWrite = 1,
  kDisconnect = 2,
  kFlush = 3,
  kTrim = 4,
  kCache = 5,
  kWriteZeroes = 6,
  kBlockStatus = 7,
};

inline constexpr uint16_t kCommandFua = 1U << 0;
inline constexpr uint16_t kCommandNoHole = 1U << 1;
inline constexpr uint16_t kCommandDf = 1U << 2;
inline constexpr uint16_t kCommandReqOne = 1U << 3;
inline constexpr uint16_t kCommandFastZero = 1U << 4;

enum class Chunk : uint16_t {
  kNone = 0,
  kOffsetData = 1,
  kOffsetHole = 2,
  kBlockStatus = 5,
  kError = 0x8001,
  kErrorOffset = 0x8002,
};
inline constexpr uint16_t kChunkErrorBit = 1U << 15;
inline constexpr uint16_t kChunkDone = 1U << 0;

// Error numbers that the protocol allows; they are Linux's by definition.
enum class WireError : uint32_t {
  kNone = 0,
  kPermission = 1,
  kIo = 5,
  kNoMemory = 12,
  kInvalid = 22,
  kNoSpace = 28,
  kOverflow = 75,
  kNotSupported = 95,
  kShutdown = 108,
};

// Metadata contexts and what their flags mean.
inline constexpr std::string_view kAllocationContext = "base:allocation";
inline constexpr uint32_t kStateHole = 1U << 0;
inline constexpr uint32_t kStateZero = 1U << 1;
inline constexpr std::string_view kDepthContext = "qemu:allocation-depth";
inline constexpr std::string_view kBitmapContextPrefix = "qemu:dirty-bitmap:";
inline constexpr uint32_t kStateDirty = 1U << 0;

struct ServerHello {
  Be64 init_magic;
  Be64 option_magic;
  Be16 flags;
};
static_assert(sizeof(ServerHello) == 18);

struct OptionHeader {
  Be64 magic;
  Be32 option;
  Be32 length;  // of the data that follows
};
static_assert(sizeof(OptionHeader) == 16);

struct OptionReplyHeader {
  Be64 magic;
  Be32 option;
  Be32 type;
  Be32 length;
};
static_assert(sizeof(OptionReplyHeader) == 20);

struct ExportInfo {
  Be16 kind;  // kInfoExport
  Be64 size_bytes;
  Be16 flags;
};
static_assert(sizeof(ExportInfo) == 12);

struct BlockSizeInfo {
  Be16 kind;  // kInfoBlockSize
  Be32 minimum;
  Be32 preferred;
  Be32 maximum;
};
static_assert(sizeof(BlockSizeInfo) == 14);

struct RequestHeader {
  Be32 magic;
  Be16 flags;
  Be16 command;
  Be64 cookie;
  Be64 offset;
  Be32 length;
};
static_assert(sizeof(RequestHeader) == 28);

struct SimpleReplyHeader {
  Be32 magic;
  Be32 error;
  Be64 cookie;
};
static_assert(sizeof(SimpleReplyHeader) == 16);

struct ChunkHeader {
  Be32 magic;
  Be16 flags;
  Be16 type;
  Be64 cookie;
  Be32 length;  // of the payload
};
static_assert(sizeof(ChunkHeader) == 20);

struct ExtentDescriptor {
  Be32 length;
  Be32 flags;
};
static_assert(sizeof(ExtentDescriptor) == 8);

}  // namespace hull::blockcore::nbd
