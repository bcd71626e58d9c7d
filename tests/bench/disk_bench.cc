// disk_bench FILE FORMAT(raw|qcow2) OPERATION(read|write|randread|randwrite) [option=value…]
//
// Requests against a Disk as virtio-blk makes them, `depth` at a time, and how long they took.
// Options: depth=32 count=100000 size=4096 step=SIZE cache=writeback engine=auto|uring|threads
// thread=0|1 (with a watch, as in a VM: no plain system calls) flush=0|1 (after each write). The
// counterpart is qemu-img bench. snapshot=create|delete (the first one): meanwhile, and requests go
// on until that has ended; the longest of them is reported.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "blockcore/image/single_image.h"
#include "blockcore/open.h"
#include "blockcore/qcow2/edit/snapshots.h"
#include "blockcore/qcow2/qcow2_disk.h"

namespace {

using namespace hull;
using namespace hull::blockcore;
using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

struct Job {
  Disk* disk;
  bool write = false;
  bool random = false;
  uint64_t size = 4096;
  uint64_t step = 4096;
  uint64_t count = 100000;
  unsigned depth = 32;
  bool flush = false;  // after each write
  uint64_t started = 0;
  uint64_t random_state = 88172645463325252U;
  bool snapshot_runs = false;
  uint64_t beside = 0;  // requests that were in flight while it ran
  Seconds longest{};    // of those
  Seconds snapshot_time{};

  uint64_t next_offset() {
    uint64_t slot = started++;
    if (random) {
      random_state ^= random_state << 13;
      random_state ^= random_state >> 7;
      random_state ^= random_state << 17;
      slot = random_state;
    }
    return slot % (disk->size_bytes() / step) * step;
  }
};

Task<void> worker(Job& job, std::byte* memory, unsigned& finished) {
  while (job.started < job.count || job.snapshot_runs) {
    const iovec buffer{memory, job.size};
    const Clock::time_point begin = Clock::now();
    const bool counts = job.snapshot_runs;
    const uint64_t offset = job.next_offset();
    auto transfer =
        job.write ? job.disk->write(offset, {&buffer, 1}) : job.disk->read(offset, {&buffer, 1});
    const auto result = co_await std::move(transfer);
    CHECK(result.has_value());
    if (job.flush) CHECK((co_await job.disk->flush()).has_value());
    if (!counts) continue;
    ++job.beside;
    job.longest = std::max(job.longest, Seconds(Clock::now() - begin));
  }
  ++finished;
}

Task<void> change_snapshots(Job& job, std::string what) {
  auto* const disk = dynamic_cast<Qcow2Disk*>(job.disk);
  CHECK(disk != nullptr);
  CHECK((co_await disk->flush()).has_value());
  job.snapshot_runs = true;
  const Clock::time_point begin = Clock::now();
  auto change = what == "create" ? qcow2::create_snapshot(disk->parts(), {.name = "bench"})
                                 : qcow2::delete_snapshot(disk->parts(), 0);
  const auto changed = co_await std::move(change);
  CHECK(changed.has_value());
  job.snapshot_time = Clock::now() - begin;
  job.snapshot_runs = false;
}

// Bare, so that its snapshots can be had.
Task<Result<std::unique_ptr<Disk>>> open_bare(IoEngine& engine, std::string path) {
  SingleImageOptions options{.path = std::move(path), .format = DiskFormat::kQcow2};
  co_return co_await open_single_qcow2(engine, std::move(options));
}

Result<void> run(const std::string& path, const std::string& format, const std::string& operation,
                 std::map<std::string, std::string>& options) {
  const std::map<std::string, IoEngineKind> kinds = {{"auto", IoEngineKind::kAutomatic},
                                                     {"uring", IoEngineKind::kUring},
                                                     {"threads", IoEngineKind::kThreads}};
  const std::map<std::string, CacheMode> caches = {{"writeback", CacheMode::kWriteback},
                                                   {"none", CacheMode::kNone},
                                                   {"unsafe", CacheMode::kUnsafe}};
  auto engine = TRY(IoEngine::create(kinds.at(options["engine"])));
  OpenOptions open{.path = path,
                   .format = format == "qcow2" ? DiskFormat::kQcow2 : DiskFormat::kRaw,
                   .cache = caches.at(options["cache"]),
                   .read_only = operation.ends_with("read"),
                   .transient = options["transient"] == "1"};
  auto opening =
      options["snapshot"].empty() ? open_disk(*engine, std::move(open)) : open_bare(*engine, path);
  auto disk = TRY(engine->run_until_done(std::move(opening)));
  Job job{.disk = disk.get()};
  job.write = operation.ends_with("write");
  job.random = operation.starts_with("rand");
  job.size = std::stoull(options["size"]);
  job.step = options["step"].empty() ? job.size : std::stoull(options["step"]);
  job.flush = options["flush"] == "1";
  job.count = std::stoull(options["count"]);
  job.depth = static_cast<unsigned>(std::stoul(options["depth"]));
  CHECK(job.step >= job.size && job.size <= disk->size_bytes());

  const EventFd kick = TRY(EventFd::create());
  std::vector<std::byte> memory(job.size * job.depth + 4096);
  auto* aligned = reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(memory.data()) + 4095) &
                                               ~uintptr_t{4095});
  std::memset(aligned, 1, job.size * job.depth);
  unsigned finished = 0;
  const Clock::time_point begin = Clock::now();
  auto start = [&] {
    if (!options["snapshot"].empty()) start_detached(change_snapshots(job, options["snapshot"]));
    for (unsigned i = 0; i < job.depth; ++i)
      start_detached(
          [](Job& owned, std::byte* buffer, unsigned& count, IoEngine& loop) -> Task<void> {
            co_await worker(owned, buffer, count);
            if (count == owned.depth) loop.stop();
          }(job, aligned + i * job.size, finished, *engine));
  };
  if (options["thread"] == "1") {
    if (auto watched = engine->watch(kick.fd(), [] {}); !watched) return watched;
  }
  engine->post(start);
  engine->run();
  const Seconds elapsed = Clock::now() - begin;
  if (options["thread"] == "1") engine->unwatch(kick.fd());
  fmt::print("{} {} {} {}: {} requests in {:.3f} s, {:.0f} per second\n", engine->name(), format,
             options["cache"], operation, job.started, elapsed.count(),
             static_cast<double>(job.started) / elapsed.count());
  if (!options["snapshot"].empty())
    fmt::print("snapshot {}: {:.0f} ms, {} requests beside it, the longest took {:.1f} ms\n",
               options["snapshot"], job.snapshot_time.count() * 1000, job.beside,
               job.longest.count() * 1000);
  return engine->run_until_done(disk->close());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    fmt::print(stderr, "usage: disk_bench FILE raw|qcow2 [rand]read|[rand]write [option=value…]\n");
    return 2;
  }
  std::map<std::string, std::string> options = {{"depth", "32"},    {"count", "100000"},
                                                {"size", "4096"},   {"cache", "writeback"},
                                                {"engine", "auto"}, {"thread", "1"}};
  for (int i = 4; i < argc; ++i) {
    const std::string option = argv[i];
    const size_t equals = option.find('=');
    if (equals != std::string::npos) options[option.substr(0, equals)] = option.substr(equals + 1);
  }
  const auto done = run(argv[1], argv[2], argv[3], options);
  if (!done) fmt::print(stderr, "disk_bench: {}\n", done.error().message());
  return done ? 0 : 1;
}
