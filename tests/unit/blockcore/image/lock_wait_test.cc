// Every operation on an image file waits for the locks of somebody who is about to go, and works on
// what he leaves.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "blockcore/file/image_lock.h"
#include "blockcore/image/compact.h"
#include "blockcore/image/create.h"
#include "blockcore/image/resize.h"
#include "blockcore/image/single_image.h"
#include "tests/support/temporary_directory.h"

namespace hull::blockcore {
namespace {

constexpr uint64_t kSize = 8 << 20;

struct Verb {
  const char* name;
  DiskFormat format;
  std::function<Result<void>(IoEngine&, const std::string& path)> run;
};
void PrintTo(const Verb& verb, std::ostream* out) { *out << verb.name; }

Result<void> resize_to(IoEngine& engine, const std::string& path, uint64_t size) {
  ResizeImageOptions options{.path = path};
  options.new_size = [size](uint64_t) -> Result<uint64_t> { return size; };
  (void)TRY(engine.run_until_done(resize_image(engine, std::move(options))));
  return {};
}

class ImageFile : public ::testing::Test {
 protected:
  void create(const std::string& path, DiskFormat format, const std::string& data_file = "") {
    CreateImageOptions options{.path = path, .format = format, .size_bytes = kSize};
    options.qcow2.data_file_name = data_file;
    const auto created = engine_->run_until_done(create_image(*engine_, std::move(options)));
    ASSERT_TRUE(created) << created.error().message();
  }
  testing::TemporaryDirectory directory_;
  const std::string path_ = directory_ / "image";
  std::unique_ptr<IoEngine> engine_ = IoEngine::create().value();
};

class ImageLockWait : public ImageFile, public ::testing::WithParamInterface<Verb> {};

TEST_P(ImageLockWait, IsWaitedFor) {
  create(path_, GetParam().format);
  UniqueFd holder = open_file(path_, O_RDWR).value();
  ASSERT_TRUE(lock_image(holder.get(), path_, {.write = true, .resize = true}));
  std::thread other([&] {
    std::this_thread::sleep_for(kLockPatience / 20);
    holder.reset();
  });
  const auto done = GetParam().run(*engine_, path_);
  other.join();
  EXPECT_TRUE(done) << done.error().message();
}

// The holder makes the file longer before he goes: growing to less than that cuts nothing off.
TEST_F(ImageFile, GrowingIsMeasuredUnderTheLock) {
  create(path_, DiskFormat::kRaw);
  UniqueFd holder = open_file(path_, O_RDWR).value();
  ASSERT_TRUE(lock_image(holder.get(), path_, {.write = true, .resize = true}));
  std::thread other([&] {
    std::this_thread::sleep_for(kLockPatience / 20);
    EXPECT_EQ(::ftruncate(holder.get(), 3 * kSize), 0);
    holder.reset();
  });
  ResizeImageOptions options{.path = path_, .format = DiskFormat::kRaw};
  uint64_t seen = 0;
  options.new_size = [&seen](uint64_t size) -> Result<uint64_t> {
    seen = size;
    return size + kSize;
  };
  const auto resized = engine_->run_until_done(resize_image(*engine_, std::move(options)));
  other.join();
  ASSERT_TRUE(resized) << resized.error().message();
  EXPECT_EQ(seen, 3 * kSize);
  EXPECT_EQ(*resized, 4 * kSize);
}

// A guest can write what looks like an image onto its raw disk, and in it the name of any file.
TEST_F(ImageFile, DataFileOfAFormatThatIsOnlyGuessedIsLeftAlone) {
  create(path_, DiskFormat::kQcow2, "data");
  const auto guessed = resize_to(*engine_, path_, 2 * kSize);
  ASSERT_FALSE(guessed);
  EXPECT_NE(guessed.error().message().find("-f qcow2"), std::string::npos)
      << guessed.error().message();
  ResizeImageOptions options{.path = path_, .format = DiskFormat::kQcow2};
  options.new_size = [](uint64_t size) -> Result<uint64_t> { return 2 * size; };
  const auto resized = engine_->run_until_done(resize_image(*engine_, std::move(options)));
  EXPECT_TRUE(resized) << resized.error().message();
}

INSTANTIATE_TEST_SUITE_P(
    Verbs, ImageLockWait,
    ::testing::Values(
        Verb{"resize_raw", DiskFormat::kRaw,
             [](IoEngine& engine, const std::string& path) {
               return resize_to(engine, path, 2 * kSize);
             }},
        Verb{"resize_qcow2", DiskFormat::kQcow2,
             [](IoEngine& engine, const std::string& path) {
               return resize_to(engine, path, 2 * kSize);
             }},
        Verb{"compact", DiskFormat::kQcow2,
             [](IoEngine& engine, const std::string& path) -> Result<void> {
               (void)TRY(engine.run_until_done(compact_image(engine, {.path = path})));
               return {};
             }},
        Verb{"create", DiskFormat::kQcow2,
             [](IoEngine& engine, const std::string& path) -> Result<void> {
               CreateImageOptions options{
                   .path = path, .format = DiskFormat::kRaw, .size_bytes = kSize};
               (void)TRY(engine.run_until_done(create_image(engine, std::move(options))));
               return {};
             }},
        Verb{"open_single", DiskFormat::kQcow2,
             [](IoEngine& engine, const std::string& path) -> Result<void> {
               const auto disk =
                   TRY(engine.run_until_done(open_single_qcow2(engine, {.path = path})));
               return engine.run_until_done(disk->close());
             }}),
    [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace hull::blockcore
