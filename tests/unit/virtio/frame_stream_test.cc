#include "virtio/user/frame_stream.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>
#include <numeric>

namespace hull::virtio {
namespace {

using Bytes = std::vector<uint8_t>;

class FrameStreamTest : public ::testing::Test {
 protected:
  void SetUp() override {
    int fds[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    far_.reset(fds[1]);
    auto stream = FrameStream::create(UniqueFd(fds[0]));
    ASSERT_TRUE(stream.has_value());
    stream_ = std::make_unique<FrameStream>(*std::move(stream));
  }
  static Bytes frame(size_t bytes, uint8_t first = 0) {
    Bytes data(bytes);
    std::iota(data.begin(), data.end(), first);
    return data;
  }
  static Bytes on_wire(const Bytes& frame, std::optional<uint32_t> length = {}) {
    const uint32_t said = length.value_or(static_cast<uint32_t>(frame.size()));
    Bytes wire;
    for (int shift = 24; shift >= 0; shift -= 8)
      wire.push_back(static_cast<uint8_t>(said >> shift));
    wire.insert(wire.end(), frame.begin(), frame.end());
    return wire;
  }
  void arrive(const Bytes& bytes, size_t from = 0, size_t count = SIZE_MAX) {
    count = std::min(count, bytes.size() - from);
    ASSERT_EQ(::send(far_.get(), bytes.data() + from, count, 0), static_cast<ssize_t>(count));
  }
  Bytes receive() {
    const auto got = stream_->receive();
    return {got.begin(), got.end()};
  }
  int send(const Bytes& data) {
    const iovec piece{const_cast<uint8_t*>(data.data()), data.size()};
    return stream_->send({&piece, 1});
  }

  UniqueFd far_;
  std::unique_ptr<FrameStream> stream_;
};

TEST_F(FrameStreamTest, FramesArriveWholeWhereverTheStreamIsCut) {
  Bytes wire = on_wire(frame(60));
  const Bytes second = on_wire(frame(1514, 7));
  wire.insert(wire.end(), second.begin(), second.end());
  for (size_t cut = 0; cut <= wire.size(); ++cut) {
    arrive(wire, 0, cut);
    std::vector<Bytes> got;
    for (Bytes one = receive(); !one.empty(); one = receive()) got.push_back(one);
    EXPECT_FALSE(stream_->holds_frames());
    arrive(wire, cut);
    for (Bytes one = receive(); !one.empty(); one = receive()) got.push_back(one);
    EXPECT_EQ(got, (std::vector<Bytes>{frame(60), frame(1514, 7)})) << cut;
    EXPECT_EQ(stream_->error(), 0);
  }
}

TEST_F(FrameStreamTest, ManyFramesThatCameTogetherAreHeld) {
  for (int i = 0; i < 50; ++i) arrive(on_wire(frame(100, static_cast<uint8_t>(i))));
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(receive(), frame(100, static_cast<uint8_t>(i)));
    EXPECT_EQ(stream_->holds_frames(), i != 49);
  }
  EXPECT_TRUE(receive().empty());
  EXPECT_EQ(stream_->error(), 0);
}

TEST_F(FrameStreamTest, LargestFramePassesBothWays) {
  const Bytes large = frame(FrameStream::kMaxFrameBytes);
  ASSERT_EQ(send(large), 0);
  Bytes wire(large.size() + 4);
  ASSERT_EQ(::recv(far_.get(), wire.data(), wire.size(), MSG_WAITALL), std::ssize(wire));
  EXPECT_EQ(wire, on_wire(large));
  arrive(wire);
  EXPECT_EQ(receive(), large);
}

TEST_F(FrameStreamTest, PiecesAreOneFrame) {
  const Bytes data = frame(300);
  const iovec pieces[] = {{const_cast<uint8_t*>(data.data()), 13},
                          {const_cast<uint8_t*>(data.data()) + 13, 0},
                          {const_cast<uint8_t*>(data.data()) + 13, 287}};
  ASSERT_EQ(stream_->send(pieces), 0);
  Bytes wire(304);
  ASSERT_EQ(::recv(far_.get(), wire.data(), wire.size(), MSG_WAITALL), std::ssize(wire));
  EXPECT_EQ(wire, on_wire(data));
}

// A frame is on the wire whole or not at all, however full that is.
TEST_F(FrameStreamTest, WhatDoesNotFitIsNotBegun) {
  const Bytes large = frame(FrameStream::kMaxFrameBytes);
  size_t sent = 0;
  int result = 0;
  for (; (result = send(large)) == 0; ++sent) ASSERT_LT(sent, 1000U);
  EXPECT_EQ(result, EAGAIN);
  Bytes wire(large.size() + 4);
  for (size_t i = 0; i < sent; ++i) {
    ASSERT_EQ(::recv(far_.get(), wire.data(), wire.size(), MSG_WAITALL), std::ssize(wire));
    EXPECT_EQ(wire, on_wire(large));
  }
  EXPECT_EQ(::recv(far_.get(), wire.data(), wire.size(), MSG_DONTWAIT), -1);
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(send(large), 0);
}

TEST_F(FrameStreamTest, WhatIsTooShortToBeAFrameIsSkipped) {
  arrive(on_wire({}));
  arrive(on_wire(frame(13)));
  arrive(on_wire(frame(14)));
  EXPECT_EQ(receive(), frame(14));
  EXPECT_TRUE(receive().empty());
  EXPECT_EQ(stream_->error(), 0);
}

// Whoever sends nothing else all the time gets no more of our time than a frame would.
TEST_F(FrameStreamTest, EmptyFramesWithoutEndKeepNobody) {
  const Bytes many(1 << 17, 0);
  arrive(many);
  EXPECT_TRUE(receive().empty());
  arrive(many);
  EXPECT_TRUE(receive().empty());
  EXPECT_EQ(stream_->error(), 0);
}

TEST_F(FrameStreamTest, WrongLengthEndsTheStream) {
  for (const uint32_t length :
       {uint32_t{FrameStream::kMaxFrameBytes + 1}, uint32_t{0x10000}, uint32_t{0xffffffff}}) {
    SetUp();
    arrive(on_wire(frame(20)));
    arrive(on_wire(frame(20), length));
    EXPECT_EQ(receive(), frame(20));
    EXPECT_TRUE(stream_->holds_frames());  // or nobody would look
    EXPECT_TRUE(receive().empty());
    EXPECT_EQ(stream_->error(), EPROTO);
    EXPECT_EQ(send(frame(60)), EPROTO);
  }
}

TEST_F(FrameStreamTest, OtherSideThatEndsIsNoticedBehindItsLastFrame) {
  arrive(on_wire(frame(60)));
  arrive(on_wire(frame(60)), 0, 30);
  far_.reset();
  EXPECT_EQ(receive(), frame(60));
  EXPECT_TRUE(receive().empty());
  EXPECT_EQ(stream_->error(), EPIPE);
  EXPECT_EQ(send(frame(60)), EPIPE);
}

}  // namespace
}  // namespace hull::virtio
