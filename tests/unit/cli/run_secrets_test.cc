#include "tools/hull/run_secrets.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/unique_fd.h"
#include "tests/support/temporary_directory.h"
#include "tools/hull/run_options.h"

namespace hull::cli {
namespace {

class RunSecrets : public ::testing::Test {
 protected:
  std::string file_with(std::string_view text) const {
    const std::string path = directory_ / "key";
    const UniqueFd fd = open_file(path, O_RDWR | O_CREAT | O_TRUNC).value();
    EXPECT_TRUE(write_all(fd.get(), std::as_bytes(std::span(text))));
    return path;
  }
  static Result<vmm::DiskSecrets> read(const std::string& option) {
    return read_secrets(std::span(&option, 1));
  }
  static std::string text_of(const vmm::DiskSecrets& secrets, const std::string& id) {
    const auto found = secrets.find(id);
    if (found == secrets.end()) return "(none)";
    return {reinterpret_cast<const char*>(found->second->data()), found->second->size_bytes()};
  }
  static Result<config::DomainConfig> domain_with(const std::string& disk) {
    RunCommand command;
    command.name = "vm";
    command.kernel = "hull:guest";
    command.disks = {disk};
    return domain_from_options(command);
  }

  testing::TemporaryDirectory directory_;
};

TEST_F(RunSecrets, ComeFromFiles) {
  const auto secrets = read("a=b=file:" + file_with("top secret\n"));
  ASSERT_TRUE(secrets) << secrets.error().message();
  EXPECT_EQ(text_of(*secrets, "a=b"), "top secret\n");
}

TEST_F(RunSecrets, DescriptorIsReadToItsEndAndClosed) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd reader(::fcntl(ends[0], F_DUPFD_CLOEXEC, 700));
  UniqueFd unused(ends[0]);
  {
    const UniqueFd writer(ends[1]);
    ASSERT_EQ(::write(writer.get(), "s3", 2), 2);
  }
  const auto secrets = read("k=fd:700");
  ASSERT_TRUE(secrets) << secrets.error().message();
  EXPECT_EQ(text_of(*secrets, "k"), "s3");
  EXPECT_LT(::fcntl(700, F_GETFD), 0) << "still open";
  EXPECT_FALSE(read("k=fd:700"));
}

TEST_F(RunSecrets, UuidsAreComparedInOneSpelling) {
  const auto secrets = read("2F6D3C1E-59A0-4F0E-8B7A-1D2C3B4A5F60=file:" + file_with("x"));
  ASSERT_TRUE(secrets) << secrets.error().message();
  EXPECT_EQ(text_of(*secrets, "2f6d3c1e-59a0-4f0e-8b7a-1d2c3b4a5f60"), "x");
}

TEST_F(RunSecrets, WhatMayBeASecretIsNotShown) {
  for (const char* word : {"disk=hunter2", "hunter2", "=file:hunter2", "disk=fd:hunter2"}) {
    const auto secrets = read(word);
    ASSERT_FALSE(secrets);
    EXPECT_EQ(secrets.error().kind(), ErrorKind::kUsage);
    EXPECT_EQ(secrets.error().message().find("hunter2"), std::string::npos)
        << secrets.error().message();
  }
}

TEST_F(RunSecrets, EmptyMissingAndRepeatedOnesAreRefused) {
  EXPECT_FALSE(read("a=file:" + file_with("")));
  EXPECT_FALSE(read("a=file:" + (directory_ / "absent")));
  const std::string good = "a=file:" + file_with("x");
  const std::string twice[] = {good, good};
  EXPECT_FALSE(read_secrets(twice));
}

TEST_F(RunSecrets, DiskNamesThemLevelByLevel) {
  const auto domain = domain_with(
      "/d.qcow2,format=qcow2,encrypt.key-secret=top,backing.backing.encrypt.key-secret=low,"
      "backing.backing.encrypt.format=aes");
  ASSERT_TRUE(domain) << domain.error().message();
  const config::DiskConfig& disk = domain->disks[0];
  ASSERT_TRUE(disk.encryption);
  EXPECT_EQ(disk.encryption->secret_id, "top");
  ASSERT_EQ(disk.backing_encryption.size(), 2U);
  EXPECT_FALSE(disk.backing_encryption[0]);
  ASSERT_TRUE(disk.backing_encryption[1]);
  EXPECT_EQ(disk.backing_encryption[1]->secret_id, "low");
  EXPECT_EQ(disk.backing_encryption[1]->method, config::EncryptionMethod::kAes);
  EXPECT_FALSE(domain_with("/d.qcow2,format=qcow2,encrypt.format=luks"));
  EXPECT_FALSE(domain_with("/d.qcow2,format=qcow2,encrypt.cipher=rot13"));
}

TEST_F(RunSecrets, MissingOnesAreAllNamedAtOnce) {
  const auto domain =
      domain_with("/d.qcow2,format=qcow2,encrypt.key-secret=top,backing.encrypt.key-secret=low");
  ASSERT_TRUE(domain);
  const auto missing = check_secrets(*domain, {});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().kind(), ErrorKind::kUsage);
  EXPECT_EQ(missing.error().message(),
            "vm: disk vda: '/d.qcow2' is encrypted: give the secret 'top' with --secret "
            "top=file:PATH or --secret top=fd:N\n"
            "vm: disk vda: a backing file of '/d.qcow2' is encrypted: give the secret 'low' with "
            "--secret low=file:PATH or --secret low=fd:N");
  const std::string path = file_with("x");
  const std::string both[] = {"top=file:" + path, "low=file:" + path};
  EXPECT_TRUE(check_secrets(*domain, *read_secrets(both)));
}

}  // namespace
}  // namespace hull::cli
