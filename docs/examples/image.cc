// How a program of its own uses hull's images: it makes a qcow2 image, writes to it, takes a
// snapshot, writes again, looks at what a guest would see, and goes back to the snapshot.
//
//   example_image IMAGE      (the file must not exist)
#include <cstdio>
#include <string>

#include "blockcore/file/local_file.h"
#include "blockcore/image/single_image.h"
#include "blockcore/open.h"
#include "blockcore/qcow2/edit/create.h"
#include "blockcore/qcow2/edit/snapshots.h"

namespace {

using namespace hull;
using namespace hull::blockcore;

// Everything that waits for the host is a coroutine: it goes on when the engine has an answer.
Task<Result<void>> write_text(Disk& disk, uint64_t offset, std::string text) {
  const iovec buffer{text.data(), text.size()};
  CO_TRY_VOID(co_await disk.write(offset, {&buffer, 1}));
  co_return co_await disk.flush();
}

Task<Result<std::string>> read_text(Disk& disk, uint64_t offset, size_t length) {
  std::string text(length, '\0');
  const iovec buffer{text.data(), text.size()};
  CO_TRY_VOID(co_await disk.read(offset, {&buffer, 1}));
  co_return text;
}

Result<void> make_image(IoEngine& engine, const std::string& path) {
  const auto file = TRY(LocalFile::open(engine, path, {.create = true}));
  return engine.run_until_done(create_qcow2(*file, {.size_bytes = 1 << 20}));
}

// Operations on the image itself open it alone, without its backing files.
Task<Result<void>> snapshot_and_change(Qcow2Disk& image) {
  CO_TRY_VOID(co_await write_text(image, 4096, "before"));
  CO_TRY_VOID(co_await qcow2::create_snapshot(image.parts(), {.name = "first"}));
  CO_TRY_VOID(co_await write_text(image, 4096, "after!"));
  co_return co_await image.close();
}

Task<Result<void>> go_back(Qcow2Disk& image) {
  CO_TRY_VOID(co_await qcow2::apply_snapshot(image.parts(), 0));
  co_return co_await image.close();
}

// The disk as a guest sees it: any format, with its backing files.
Result<std::string> look(IoEngine& engine, const std::string& path) {
  const auto disk = TRY(engine.run_until_done(
      open_disk(engine, {.path = path, .format = DiskFormat::kQcow2, .read_only = true})));
  std::string text = TRY(engine.run_until_done(read_text(*disk, 4096, 6)));
  if (auto closed = engine.run_until_done(disk->close()); !closed)
    return std::unexpected(std::move(closed).error());
  return text;
}

Result<void> run(const std::string& path) {
  const auto engine = TRY(IoEngine::create());
  if (auto made = make_image(*engine, path); !made) return made;
  {
    const auto image = TRY(engine->run_until_done(open_single_qcow2(*engine, {.path = path})));
    if (auto done = engine->run_until_done(snapshot_and_change(*image)); !done) return done;
  }
  std::printf("changed: %s\n", TRY(look(*engine, path)).c_str());
  {
    const auto image = TRY(engine->run_until_done(open_single_qcow2(*engine, {.path = path})));
    if (auto done = engine->run_until_done(go_back(*image)); !done) return done;
  }
  std::printf("snapshot: %s\n", TRY(look(*engine, path)).c_str());
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: example_image IMAGE\n");
    return 2;
  }
  const Result<void> done = run(argv[1]);
  if (!done) std::fprintf(stderr, "error: %s\n", done.error().message().c_str());
  return done ? 0 : 1;
}
