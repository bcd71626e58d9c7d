#include "tests/support/local_host.h"

#include "tests/support/faulty_engine.h"

namespace hull::testing {

using namespace blockcore;

LocalHost::LocalHost(const TemporaryDirectory& directory, const LocalHostOptions& options)
    : directory_(directory), options_(options) {
  if (options.engine == IoEngineKind::kThreads) {
    auto engine = FaultyEngine::create();
    faulty_ = engine.get();
    engine_ = std::move(engine);
    return;
  }
  auto engine = IoEngine::create(options.engine);
  CHECK(engine.has_value());
  engine_ = *std::move(engine);
}

std::string LocalHost::path(unsigned index) const {
  return directory_ / fmt::format("file{}", index);
}

Result<std::unique_ptr<File>> LocalHost::open(unsigned index, const Bytes& contents) {
  save_file(path(index), contents);
  return open_existing(index);
}

Result<std::unique_ptr<File>> LocalHost::open_existing(unsigned index, bool read_only) {
  LocalFileOptions options{.cache = options_.cache, .read_only = read_only};
  if (options_.lock) options.lock = LockRequest{.write = !read_only, .resize = !read_only};
  auto file = TRY(LocalFile::open(*engine_, path(index), options));
  return std::unique_ptr<File>(std::move(file));
}

Bytes LocalHost::contents(unsigned index) const { return load_file(path(index)); }

void LocalHost::run() {
  engine_->stop();
  engine_->run();
}

}  // namespace hull::testing
