#include <gtest/gtest.h>

#include "tests/support/nbd_server_fixture.h"

namespace hull::blockcore::nbd {
namespace {

using testing::NbdClient;

class NbdHandshake : public testing::NbdServerTest {};

std::string name_message(std::string_view name) {
  std::string message;
  append_bytes(message, Be32(static_cast<uint32_t>(name.size())));
  message += name;
  return message;
}

// What NBD_OPT_INFO and NBD_OPT_GO carry.
std::string info_request(std::string_view name, std::initializer_list<uint16_t> kinds = {}) {
  std::string message = name_message(name);
  append_bytes(message, Be16(static_cast<uint16_t>(kinds.size())));
  for (const uint16_t kind : kinds) append_bytes(message, Be16(kind));
  return message;
}

std::string context_request(std::string_view name,
                            std::initializer_list<std::string_view> queries) {
  std::string message = name_message(name);
  append_bytes(message, Be32(static_cast<uint32_t>(queries.size())));
  for (const std::string_view query : queries) message += name_message(query);
  return message;
}

std::vector<std::string> context_names(const NbdClient& client) {
  std::vector<std::string> names;
  for (const auto& info : client.infos)
    if (info.type == OptionReply::kMetaContext) names.push_back(info.data.substr(4));
  return names;
}

OptionReply answer_to(NbdClient& client, Option option, std::string_view data = {}) {
  const auto answer = client.ask(option, data);
  return answer ? answer->type : OptionReply{0};
}

TEST_P(NbdHandshake, GoTellsSizeAndFlags) {
  NbdClient client = connect();
  ASSERT_TRUE(client.greet());
  EXPECT_EQ(answer_to(client, Option::kGo, info_request("")), OptionReply::kAck);
  ASSERT_EQ(client.infos.size(), 1U);
  ASSERT_EQ(client.infos[0].data.size(), sizeof(ExportInfo));
  ExportInfo info;
  std::memcpy(&info, client.infos[0].data.data(), sizeof info);
  EXPECT_EQ(info.size_bytes, 64U << 10);
  EXPECT_EQ(info.flags & (kHasFlags | kReadOnly | kSendFlush | kSendFua | kSendTrim | kSendDf),
            kHasFlags | kSendFlush | kSendFua | kSendTrim);
}

TEST_P(NbdHandshake, InfoTellsWhatWasAskedForAndGoesOn) {
  offer_.name = "disk";
  offer_.description = "a test";
  NbdClient client = connect();
  ASSERT_TRUE(client.greet());
  EXPECT_EQ(answer_to(client, Option::kInfo,
                      info_request("disk", {kInfoName, kInfoDescription, kInfoBlockSize, 999})),
            OptionReply::kAck);
  ASSERT_EQ(client.infos.size(), 4U);
  EXPECT_EQ(client.infos[0].data.substr(2), "disk");
  EXPECT_EQ(client.infos[1].data.substr(2), "a test");
  EXPECT_EQ(client.infos[2].data.size(), sizeof(BlockSizeInfo));
  EXPECT_EQ(answer_to(client, Option::kGo, info_request("disk")), OptionReply::kAck);
}

TEST_P(NbdHandshake, ReadOnlyExportOffersNoWrites) {
  offer_.read_only = true;
  NbdClient client = connect();
  ASSERT_TRUE(client.greet());
  ASSERT_EQ(answer_to(client, Option::kInfo, info_request("")), OptionReply::kAck);
  ExportInfo info;
  std::memcpy(&info, client.infos.at(0).data.data(), sizeof info);
  EXPECT_EQ(info.flags & (kReadOnly | kSendTrim | kSendWriteZeroes), kReadOnly);
}

TEST_P(NbdHandshake, ExportNameEntersTransmissionWithZeroesForOldClients) {
  NbdClient client = connect();
  ASSERT_TRUE(client.greet(kFixedNewstyle));
  client.send_option(Option::kExportName);
  EXPECT_EQ(client.receive(10 + kExportNameZeroes).size(), 10 + kExportNameZeroes);
  client.request(Command::kFlush, 0, 0);
  EXPECT_EQ(client.simple_reply(), 0U);
}

TEST_P(NbdHandshake, ExportNameWorksForClientsThatAreNotFixed) {
  NbdClient client = connect();
  ASSERT_TRUE(client.greet(kNoZeroes));
  client.send_option(Option::kExportName);
  EXPECT_EQ(client.receive(10).size(), 10U);
  client.request(Command::kFlush, 0, 0);
  EXPECT_EQ(client.simple_reply(), 0U);
}

TEST_P(NbdHandshake, ClientsThatAreNotFixedGetNoOptions) {
  NbdClient client = connect();
  ASSERT_TRUE(client.greet(0));
  client.send_option(Option::kList);
  EXPECT_EQ(client.wait_for_end(), 0U);
}

TEST_P(NbdHandshake, WrongExportNameIsRefusedOrHungUpOn) {
  NbdClient polite = connect();
  ASSERT_TRUE(polite.greet());
  EXPECT_EQ(answer_to(polite, Option::kGo, info_request("other")), OptionReply::kErrUnknown);
  EXPECT_EQ(answer_to(polite, Option::kGo, info_request("")), OptionReply::kAck);
  NbdClient old = connect();
  ASSERT_TRUE(old.greet());
  old.send_option(Option::kExportName, "other");
  EXPECT_EQ(old.wait_for_end(), 0U);
}

TEST_P(NbdHandshake, UnknownClientFlagEndsTheConnection) {
  NbdClient client = connect();
  ASSERT_TRUE(client.greet(1U << 2 | kFixedNewstyle));
  EXPECT_EQ(client.wait_for_end(), 0U);
}

TEST_P(NbdHandshake, UnknownOptionsAndTlsAreUnsupported) {
  NbdClient client = connect();
  ASSERT_TRUE(client.greet());
  EXPECT_EQ(answer_to(client, Option::kStartTls), OptionReply::kErrUnsupported);
  EXPECT_EQ(answer_to(client, static_cast<Option>(11)), OptionReply::kErrUnsupported);
  EXPECT_EQ(answer_to(client, static_cast<Option>(0xffffffff), std::string(kMaxOptionBytes, 'x')),
            OptionReply::kErrUnsupported);
  EXPECT_TRUE(client.go_only());
}

TEST_P(NbdHandshake, AbortIsAcknowledged) {
  NbdClient client = connect();
  ASSERT_TRUE(client.greet());
  EXPECT_EQ(answer_to(client, Option::kAbort), OptionReply::kAck);
  EXPECT_EQ(client.wait_for_end(), 0U);
}

TEST_P(NbdHandshake, ListNamesTheExport) {
  offer_.name = "disk";
  NbdClient client = connect();
  ASSERT_TRUE(client.greet());
  EXPECT_EQ(answer_to(client, Option::kList), OptionReply::kAck);
  ASSERT_EQ(client.infos.size(), 1U);
  EXPECT_EQ(client.infos[0].data, name_message("disk"));
  EXPECT_EQ(answer_to(client, Option::kList, "x"), OptionReply::kErrInvalid);
}

TEST_P(NbdHandshake, MalformedOptionsAreInvalid) {
  NbdClient client = connect();
  ASSERT_TRUE(client.greet());
  std::string long_name;
  append_bytes(long_name, Be32(0xffffffffU));
  std::string many_kinds = name_message("");
  append_bytes(many_kinds, Be16(uint16_t{0xffff}));
  for (const std::string& data :
       {std::string(), std::string(3, '\0'), std::string(5, '\0'), long_name + "abc", many_kinds,
        info_request("") + "x", info_request(std::string(kMaxStringBytes + 1, 'n'))})
    EXPECT_EQ(answer_to(client, Option::kGo, data), OptionReply::kErrInvalid) << data.size();
  EXPECT_EQ(answer_to(client, Option::kStructuredReply, "x"), OptionReply::kErrInvalid);
  EXPECT_TRUE(client.go_only());
}

TEST_P(NbdHandshake, OversizedOptionEndsTheConnection) {
  NbdClient client = connect();
  ASSERT_TRUE(client.greet());
  client.send_message(OptionHeader{kOptionMagic, uint32_t{6}, kMaxOptionBytes + 1});
  EXPECT_EQ(client.wait_for_end(), 0U);
}

TEST_P(NbdHandshake, WrongOptionMagicEndsTheConnection) {
  NbdClient client = connect();
  ASSERT_TRUE(client.greet());
  client.send_message(OptionHeader{kOptionMagic + 1, uint32_t{6}, uint32_t{0}});
  EXPECT_EQ(client.wait_for_end(), 0U);
}

TEST_P(NbdHandshake, EndlessOptionsEndTheConnection) {
  NbdClient client = connect();
  ASSERT_TRUE(client.greet());
  unsigned answered = 0;
  while (answered < 10'000 && client.ask(Option::kList)) ++answered;
  EXPECT_LT(answered, 1000U);
}

TEST_P(NbdHandshake, SilentClientIsDroppedAtTheDeadline) {
  options_.patience = std::chrono::milliseconds(20);
  NbdClient silent = connect();
  NbdClient halfway = connect();
  ASSERT_TRUE(halfway.greet());
  halfway.send("IHAVE");
  EXPECT_EQ(silent.wait_for_end(), sizeof(ServerHello));
  EXPECT_EQ(halfway.wait_for_end(), 0U);
}

TEST_P(NbdHandshake, MetaContextsAreListedByPrefix) {
  NbdClient client = connect();
  ASSERT_TRUE(client.greet());
  ASSERT_EQ(answer_to(client, Option::kStructuredReply), OptionReply::kAck);
  EXPECT_EQ(answer_to(client, Option::kListMetaContext, context_request("", {})),
            OptionReply::kAck);
  EXPECT_EQ(context_names(client),
            (std::vector<std::string>{"base:allocation", "qemu:allocation-depth"}));
  client.infos.clear();
  EXPECT_EQ(answer_to(client, Option::kListMetaContext,
                      context_request("", {"qemu:", "qemu:", "other:"})),
            OptionReply::kAck);
  EXPECT_EQ(context_names(client), (std::vector<std::string>{"qemu:allocation-depth"}));
}

TEST_P(NbdHandshake, MetaContextsAreSetByWholeName) {
  NbdClient client = connect();
  ASSERT_TRUE(client.greet());
  ASSERT_EQ(answer_to(client, Option::kStructuredReply), OptionReply::kAck);
  EXPECT_EQ(answer_to(client, Option::kSetMetaContext,
                      context_request("", {"base:allocation", "qemu:", "x"})),
            OptionReply::kAck);
  EXPECT_EQ(context_names(client), (std::vector<std::string>{"base:allocation"}));
}

TEST_P(NbdHandshake, BadMetaContextRequestsAreRefused) {
  NbdClient client = connect();
  ASSERT_TRUE(client.greet());
  const std::string good = context_request("", {"base:allocation"});
  EXPECT_EQ(answer_to(client, Option::kSetMetaContext, good), OptionReply::kErrInvalid);
  ASSERT_EQ(answer_to(client, Option::kStructuredReply), OptionReply::kAck);
  std::string endless = name_message("");
  append_bytes(endless, Be32(0xffffffffU));
  for (const std::string& data :
       {std::string(), name_message(""), endless, good + "x", good.substr(0, good.size() - 1)})
    EXPECT_EQ(answer_to(client, Option::kSetMetaContext, data), OptionReply::kErrInvalid);
  EXPECT_EQ(answer_to(client, Option::kSetMetaContext, context_request("other", {})),
            OptionReply::kErrUnknown);
  EXPECT_TRUE(client.go_only());
  client.request(Command::kBlockStatus, 0, 4096);
  EXPECT_EQ(client.error_chunk(), static_cast<uint32_t>(WireError::kInvalid));
}

INSTANTIATE_TEST_SUITE_P(Engines, NbdHandshake,
                         ::testing::Values(IoEngineKind::kUring, IoEngineKind::kThreads),
                         [](const auto& engine) {
                           return engine.param == IoEngineKind::kUring ? "Uring" : "Threads";
                         });

}  // namespace
}  // namespace hull::blockcore::nbd
