#include <gtest/gtest.h>

#include "tests/support/domain_document.h"

namespace hull::config {
namespace {

using hull::testing::domain_document;
using hull::testing::lines;
using hull::testing::read_document;

// A document with one virtio disk that has `inside` besides its source and target.
DomainReading read_encrypted_disk(std::string_view inside) {
  return read_document(
      domain_document("<disk type='file' device='disk'><source file='/d'/>"
                      "<target dev='vda' bus='virtio'/>" +
                      std::string(inside) + "</disk>"));
}

constexpr std::string_view kUsage =
    "<encryption format='luks'><secret type='passphrase' usage='web1'/></encryption>";

TEST(ReadEncryption, SecretHasAName) {
  const DomainReading reading = read_encrypted_disk(
      "<driver type='qcow2'/>"
      "<encryption format='luks' engine='qemu'><cipher name='aes' size='256'/>"
      "<secret type='passphrase' uuid='2F6D3C1E-59A0-4F0E-8B7A-1D2C3B4A5F60'/>"
      "</encryption>");
  EXPECT_EQ(lines(reading.warnings) + lines(reading.refusals), "");
  const DiskConfig& disk = reading.config.disks[0];
  ASSERT_TRUE(disk.encryption);
  EXPECT_EQ(disk.encryption->method, EncryptionMethod::kLuks);
  EXPECT_EQ(disk.encryption->secret_id, "2f6d3c1e-59a0-4f0e-8b7a-1d2c3b4a5f60");
}

TEST(ReadEncryption, MayStandInTheSourcesOfTheChain) {
  const DomainReading reading = read_document(domain_document(
      "<disk type='file'><driver type='qcow2'/><source file='/d'>" + std::string(kUsage) +
      "</source><target dev='vda' bus='virtio'/>"
      "<backingStore type='file'><format type='qcow2'/><source file='/b'>"
      "<encryption format='qcow'><secret type='passphrase' usage='old'/>"
      "</encryption></source><backingStore/></backingStore></disk>"));
  EXPECT_EQ(lines(reading.warnings) + lines(reading.refusals), "");
  const DiskConfig& disk = reading.config.disks[0];
  ASSERT_TRUE(disk.encryption && disk.backing && (*disk.backing)[0].encryption);
  EXPECT_EQ(disk.encryption->secret_id, "web1");
  EXPECT_EQ((*disk.backing)[0].encryption->method, EncryptionMethod::kAes);
  EXPECT_EQ((*disk.backing)[0].encryption->secret_id, "old");
}

TEST(ReadEncryption, WhatCannotBeIsRefused) {
  const std::string secret = "<secret type='passphrase' usage='a'/>";
  for (const std::string& inside :
       {std::string(kUsage),  // of a raw disk
        "<driver type='qcow2'/><encryption>" + secret + "</encryption>",
        "<driver type='qcow2'/><encryption format='luks2'>" + secret + "</encryption>",
        "<driver type='qcow2'/><encryption format='luks' engine='librbd'>" + secret +
            "</encryption>",
        std::string("<driver type='qcow2'/><encryption format='luks'/>"),
        std::string("<driver type='qcow2'/><encryption format='luks'><secret type='passphrase'/>"
                    "</encryption>"),
        std::string("<driver type='qcow2'/><encryption format='luks'><secret usage='a'/>"
                    "</encryption>"),
        std::string("<driver type='qcow2'/><encryption format='luks'>"
                    "<secret type='passphrase' uuid='a'/></encryption>"),
        "<driver type='qcow2'/><encryption format='luks'>" + secret + secret + "</encryption>",
        "<driver type='qcow2'/>" + std::string(kUsage) + std::string(kUsage)})
    EXPECT_FALSE(read_encrypted_disk(inside).accepted()) << inside;
}

}  // namespace
}  // namespace hull::config
