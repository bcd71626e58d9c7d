// A new image is durable when it has been made, or it was not made.
#include "blockcore/image/create.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/support/faulty_engine.h"
#include "tests/support/temporary_directory.h"

namespace hull::blockcore {
namespace {

struct NewImage {
  const char* name;
  DiskFormat format;
  const char* data_file;
  unsigned files;
};
void PrintTo(const NewImage& image, std::ostream* out) { *out << image.name; }

class CreateImage : public ::testing::TestWithParam<NewImage> {
 protected:
  CreateImageOptions options() const {
    CreateImageOptions options{.path = path_, .format = GetParam().format, .size_bytes = 8 << 20};
    options.qcow2.data_file_name = GetParam().data_file;
    return options;
  }
  testing::TemporaryDirectory directory_;
  const std::string path_ = directory_ / "image";
  std::unique_ptr<testing::FaultyEngine> engine_ = testing::FaultyEngine::create();
};

TEST_P(CreateImage, FlushesEachOfItsFiles) {
  ASSERT_TRUE(engine_->run_until_done(create_image(*engine_, options())));
  EXPECT_EQ(engine_->syncs, GetParam().files);
}

TEST_P(CreateImage, FailedFlushIsTold) {
  engine_->sync_error = EIO;
  const auto created = engine_->run_until_done(create_image(*engine_, options()));
  ASSERT_FALSE(created);
  EXPECT_EQ(created.error().error_number(), EIO);
  EXPECT_NE(::access(path_.c_str(), F_OK), 0) << "and nothing is left";
}

TEST_P(CreateImage, WhoFlushesLaterIsNotKept) {
  CreateImageOptions later = options();
  later.durable = false;
  ASSERT_TRUE(engine_->run_until_done(create_image(*engine_, later)));
  EXPECT_EQ(engine_->syncs, 0U);
}

INSTANTIATE_TEST_SUITE_P(Kinds, CreateImage,
                         ::testing::Values(NewImage{"raw", DiskFormat::kRaw, "", 1},
                                           NewImage{"qcow2", DiskFormat::kQcow2, "", 1},
                                           NewImage{"data file", DiskFormat::kQcow2, "data", 2}));

}  // namespace
}  // namespace hull::blockcore
