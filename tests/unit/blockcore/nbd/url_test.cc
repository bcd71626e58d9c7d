#include "blockcore/nbd/url.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstring>

namespace hull::blockcore::nbd {
namespace {

TEST(NbdUrl, TcpHasHostPortAndName) {
  const auto url = parse_url("nbd://127.0.0.1:12345/a%20b/c");
  ASSERT_TRUE(url) << url.error().message();
  EXPECT_EQ(url->export_name, "a b/c");
  sockaddr_in address;
  std::memcpy(&address, url->address.get(), sizeof address);
  EXPECT_EQ(ntohs(address.sin_port), 12345);
  EXPECT_EQ(ntohl(address.sin_addr.s_addr), 0x7f000001U);
}

TEST(NbdUrl, PortAndNameMayBeAbsent) {
  for (const char* text :
       {"nbd://localhost", "nbd://localhost/", "nbd://[::1]", "nbd://[::1]:10809/"}) {
    const auto url = parse_url(text);
    ASSERT_TRUE(url) << url.error().message();
    EXPECT_EQ(url->export_name, "");
    EXPECT_TRUE(url->address.is_loopback());
  }
}

TEST(NbdUrl, UnixNamesASocket) {
  const auto url = parse_url("nbd+unix:///disk?socket=/run/a%3fb");
  ASSERT_TRUE(url) << url.error().message();
  EXPECT_EQ(url->export_name, "disk");
  sockaddr_un address;
  std::memcpy(&address, url->address.get(), sizeof address);
  EXPECT_STREQ(address.sun_path, "/run/a?b");
}

TEST(NbdUrl, WhatIsNotSupportedIsRefused) {
  for (const char* text : {"nbds://127.0.0.1/",
                           "nbds+unix:///?socket=/x",
                           "nbd+vsock://2/",
                           "nbd://",
                           "nbd:///x",
                           "nbd://example.org/",
                           "nbd://127.0.0.1:0/",
                           "nbd://127.0.0.1:65536/",
                           "nbd://127.0.0.1:1x/",
                           "nbd://127.0.0.1:/",
                           "nbd://[::1/",
                           "nbd://[::1]x/",
                           "nbd://user@127.0.0.1/",
                           "nbd+unix:///",
                           "nbd+unix://host/?socket=/x",
                           "nbd+unix:///?socket=",
                           "nbd://127.0.0.1/?socket=/x",
                           "nbd+unix:///?socket=/x&tls=on",
                           "nbd+unix:///?tls=on",
                           "nbd://127.0.0.1/%zz",
                           "nbd://127.0.0.1/%0",
                           "nbd://127.0.0.1/%00",
                           "http://127.0.0.1/"})
    EXPECT_FALSE(parse_url(text)) << text;
  EXPECT_FALSE(parse_url("nbd://127.0.0.1/" + std::string(5000, 'x')));
}

TEST(NbdUrl, IsToldFromAPathByItsScheme) {
  EXPECT_TRUE(is_url("nbd://x"));
  EXPECT_TRUE(is_url("nbds+unix://x"));
  EXPECT_FALSE(is_url("nbd:"));
  EXPECT_FALSE(is_url("/nbd://x"));
  EXPECT_FALSE(is_url("disk.raw"));
}

}  // namespace
}  // namespace hull::blockcore::nbd
