#include "blockcore/nbd/server_request.h"

#include <gtest/gtest.h>

#include "tests/support/memory_disk.h"

namespace hull::blockcore::nbd {
namespace {

constexpr uint64_t kExportBytes = 1 << 20;

class ServerRequests : public ::testing::Test {
 protected:
  ServerRequests() { offer_.disk = &disk_; }

  WireError check(Command command, uint16_t flags, uint64_t offset, uint32_t length) const {
    const RequestHeader header{kRequestMagic, flags,  static_cast<uint16_t>(command),
                               uint64_t{7},   offset, length};
    return check_request(ServerRequest(header), offer_, negotiated_);
  }

  hull::testing::MemoryDisk disk_{kExportBytes};
  Export offer_;
  Negotiated negotiated_;
};

TEST_F(ServerRequests, RangesEndWithTheExport) {
  EXPECT_EQ(check(Command::kRead, 0, kExportBytes - 512, 512), WireError::kNone);
  EXPECT_EQ(check(Command::kRead, 0, kExportBytes - 512, 513), WireError::kInvalid);
  EXPECT_EQ(check(Command::kWrite, 0, kExportBytes - 512, 513), WireError::kNoSpace);
  EXPECT_EQ(check(Command::kTrim, 0, ~uint64_t{0}, 512), WireError::kInvalid);
}

TEST_F(ServerRequests, ReadOnlyComesBeforeTheRange) {
  offer_.read_only = true;

  EXPECT_EQ(check(Command::kWrite, 0, kExportBytes, 512), WireError::kPermission);
  EXPECT_EQ(check(Command::kTrim, 0, 0, 512), WireError::kPermission);
  EXPECT_EQ(check(Command::kRead, 0, 0, 512), WireError::kNone);
}

TEST_F(ServerRequests, FlagsBelongToTheirCommands) {
  EXPECT_EQ(check(Command::kWriteZeroes, kCommandNoHole, 0, 512), WireError::kNone);
  EXPECT_EQ(check(Command::kWrite, kCommandNoHole, 0, 512), WireError::kInvalid);
  EXPECT_EQ(check(Command::kRead, kCommandDf, 0, 512), WireError::kInvalid);
  negotiated_.structured_replies = true;
  EXPECT_EQ(check(Command::kRead, kCommandDf, 0, 512), WireError::kNone);
}

TEST_F(ServerRequests, BlockStatusNeedsAContext) {
  EXPECT_EQ(check(Command::kBlockStatus, 0, 0, 512), WireError::kInvalid);
  negotiated_.contexts = {0};
  EXPECT_EQ(check(Command::kBlockStatus, 0, 0, 512), WireError::kNone);
  EXPECT_EQ(check(Command::kBlockStatus, 0, 0, 0), WireError::kInvalid);
}

TEST_F(ServerRequests, HoldWhatTheirReplyNeeds) {
  const RequestHeader read{kRequestMagic, uint16_t{0}, static_cast<uint16_t>(Command::kRead),
                           uint64_t{7},   uint64_t{0}, uint32_t{4096}};
  const RequestHeader flush{kRequestMagic, uint16_t{0}, static_cast<uint16_t>(Command::kFlush),
                            uint64_t{7},   uint64_t{0}, uint32_t{0}};
  const RequestHeader cache{kRequestMagic, uint16_t{0}, static_cast<uint16_t>(Command::kCache),
                            uint64_t{7},   uint64_t{0}, uint32_t{1 << 20}};

  EXPECT_EQ(held_bytes(ServerRequest(read), negotiated_), 4096U);
  EXPECT_EQ(held_bytes(ServerRequest(flush), negotiated_), 0U);
  EXPECT_EQ(held_bytes(ServerRequest(cache), negotiated_), kWarmStepBytes);
}

}  // namespace
}  // namespace hull::blockcore::nbd
