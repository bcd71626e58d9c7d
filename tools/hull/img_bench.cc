// hull img bench [-c COUNT] [-d DEPTH] [-s BYTES] [-S STEP] [-o OFFSET] [-w] FILE
#include <chrono>

#include "blockcore/async/wait_list.h"
#include "tools/hull/command_line.h"
#include "tools/hull/img.h"
#include "tools/hull/img_open.h"

namespace hull::cli {
namespace {

using blockcore::Disk;
using blockcore::IoEngine;
using blockcore::IoEngineKind;
using blockcore::Task;

constexpr uint64_t kMaxInt = 0x7fffffff;

struct BenchCommand {
  ImgCommon common;
  std::string file;
  std::string format;
  std::string cache = "writeback";
  std::string engine;
  std::string count = "75000";
  std::string depth = "64";
  std::string offset = "0";
  std::string buffer_size = "4096";
  std::string step_size;
  std::string flush_interval = "0";
  std::string pattern = "0";
  bool native = false;
  bool write = false;
  bool no_drain = false;
};

struct BenchPlan {
  uint64_t count;
  uint64_t depth;
  uint64_t offset;
  uint64_t buffer_bytes;
  uint64_t step_bytes;
  uint64_t flush_interval;
  uint8_t pattern;
  bool write;
  bool drain;
};

Result<uint64_t> parse_bytes(const std::string& text, const char* what, uint64_t most) {
  const auto bytes = parse_img_size(text);
  if (!bytes || *bytes > most) return fail(ErrorKind::kUsage, "Invalid {} specified", what);
  return *bytes;
}

Result<BenchPlan> read_plan(const BenchCommand& command) {
  BenchPlan plan{};
  plan.count = TRY(parse_img_number(command.count, "request count", 0, kMaxInt));
  plan.depth = TRY(parse_img_number(command.depth, "queue depth", 1, 1024));
  plan.offset = TRY(parse_bytes(command.offset, "offset", INT64_MAX));
  plan.buffer_bytes = TRY(parse_bytes(command.buffer_size, "buffer size", kMaxInt));
  plan.step_bytes = command.step_size.empty()
                        ? plan.buffer_bytes
                        : TRY(parse_bytes(command.step_size, "step size", kMaxInt));
  plan.flush_interval = TRY(parse_img_number(command.flush_interval, "flush interval", 0, kMaxInt));
  plan.pattern =
      static_cast<uint8_t>(TRY(parse_img_number(command.pattern, "pattern byte", 0, 0xff)));
  plan.write = command.write;
  plan.drain = !command.no_drain;
  if (!plan.write && plan.flush_interval != 0)
    return fail(ErrorKind::kUsage, "--flush-interval is only available in write tests");
  if (plan.flush_interval != 0 && plan.flush_interval < plan.depth)
    return fail(ErrorKind::kUsage, "Flush interval can't be smaller than depth");
  if (plan.buffer_bytes == 0) return fail(ErrorKind::kUsage, "Invalid buffer size specified");
  return plan;
}

// Keeps `depth` requests in flight until `count` are done.
class Bench {
 public:
  Bench(Disk& disk, const BenchPlan& plan)
      : disk_(disk), plan_(plan), offset_(plan.offset), memory_(plan.buffer_bytes + kAlignment) {
    void* aligned = memory_.data();
    size_t room = memory_.size();
    buffer_ = static_cast<std::byte*>(std::align(kAlignment, plan.buffer_bytes, aligned, room));
    std::fill_n(buffer_, plan.buffer_bytes, std::byte{plan.pattern});
  }

  Task<Result<void>> run() {
    const uint64_t lanes = std::min(plan_.depth, plan_.count);
    running_ = lanes;
    for (uint64_t i = 0; i < lanes; ++i) start_detached(lane());
    while (running_ != 0) co_await done_.wait();
    co_return std::move(result_);
  }

 private:
  static constexpr size_t kAlignment = 4096;

  Task<void> lane() {
    while (started_ < plan_.count && result_) {
      if (flush_due()) {
        co_await flush();
        continue;
      }
      ++started_;
      co_await one();
      ++finished_;
      if (draining_) done_.wake_all();
    }
    --running_;
    done_.wake_all();
  }

  bool flush_due() {
    return plan_.flush_interval != 0 && !draining_ && started_ != flushed_at_ &&
           started_ % plan_.flush_interval == 0;
  }

  // With draining, nothing else is in flight while the flush is.
  Task<void> flush() {
    flushed_at_ = started_;
    draining_ = plan_.drain;
    while (plan_.drain && finished_ != flushed_at_) co_await done_.wait();
    remember(co_await disk_.flush());
    draining_ = false;
    done_.wake_all();
  }

  Task<void> one() {
    while (draining_ && plan_.drain) co_await done_.wait();
    const uint64_t offset = offset_;
    offset_ = (offset_ + plan_.step_bytes) % disk_.size_bytes();
    if (offset > disk_.size_bytes() || plan_.buffer_bytes > disk_.size_bytes() - offset) {
      remember(fail(ErrorKind::kIo, "Failed request: Input/output error"));
      co_return;
    }
    // All lanes share the buffer: nobody looks at what was read.
    const iovec buffer{buffer_, plan_.buffer_bytes};
    if (plan_.write)
      remember(co_await disk_.write(offset, {&buffer, 1}));
    else
      remember(co_await disk_.read(offset, {&buffer, 1}));
  }

  void remember(Result<void> result) {
    if (!result && result_) result_ = std::move(result);
  }

  Disk& disk_;
  const BenchPlan& plan_;
  uint64_t offset_;
  std::vector<std::byte> memory_;
  std::byte* buffer_;
  uint64_t started_ = 0;
  uint64_t finished_ = 0;
  uint64_t flushed_at_ = 0;
  uint64_t running_ = 0;
  bool draining_ = false;
  blockcore::WaitList done_;
  Result<void> result_;
};

Result<std::unique_ptr<IoEngine>> make_engine(const BenchCommand& command) {
  const std::string& name = command.engine;
  if (name.empty() && !command.native) return IoEngine::create();
  if (name == "threads") return IoEngine::create(IoEngineKind::kThreads);
  if (name == "native" || name == "io_uring" || command.native)
    return IoEngine::create(IoEngineKind::kUring);
  return fail(ErrorKind::kUsage, "Invalid aio option: {}", name);
}

void announce(const BenchPlan& plan) {
  fmt::print(
      "Sending {} {} requests, {} bytes each, {} in parallel (starting at offset {}, step size "
      "{})\n",
      plan.count, plan.write ? "write" : "read", plan.buffer_bytes, plan.depth, plan.offset,
      plan.step_bytes);
  if (plan.flush_interval != 0)
    fmt::print("Sending flush every {} requests\n", plan.flush_interval);
}

Result<void> bench_now(BenchCommand& command) {
  TRY(command.common.finish());
  const BenchPlan plan = TRY(read_plan(command));
  const ImgName name = TRY(parse_img_name(command.file, command.format, command.common.image_opts));
  const ImgOpen how{.cache = TRY(parse_img_cache(command.cache)), .writable = command.write};
  const auto engine = TRY(make_engine(command));
  const ImgDisk image = TRY(open_img(*engine, command.common, name, how));
  if (image.disk->size_bytes() == 0) return fail(ErrorKind::kUsage, "the image is empty");
  if (!command.common.quiet) announce(plan);
  Bench bench(*image.disk, plan);
  const auto begin = std::chrono::steady_clock::now();
  TRY(engine->run_until_done(bench.run()));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  if (!command.common.quiet) fmt::print("Run completed in {:.3f} seconds.\n", took.count());
  return engine->run_until_done(image.disk->close());
}

}  // namespace

int img_bench(Arguments arguments) {
  BenchCommand command;
  CommandLine app("Times requests to an image; -w destroys its contents.", "hull img bench");
  app.add_option("FILE", command.file, "the image").required();
  app.add_option("-f raw|qcow2", command.format, "its format: raw or qcow2; looks if absent");
  app.add_option("-c N", command.count, "how many requests (75000)");
  app.add_option("-d N", command.depth, "how many at once (64)");
  app.add_option("-o OFFSET", command.offset, "where the first one goes (0)");
  app.add_option("-s SIZE", command.buffer_size, "bytes of each (4096)");
  app.add_option("-S SIZE", command.step_size, "from one to the next (as -s)");
  app.add_option("-t none|writeback|writethrough|directsync|unsafe", command.cache,
                 "cache mode (writeback)");
  app.add_option("-i,--aio io_uring|native|threads", command.engine,
                 "threads, native or io_uring (io_uring if possible)");
  app.add_flag("-n,--native", command.native, "the same as -i native");
  app.add_flag("-w", command.write, "write instead of read");
  app.add_option("--flush-interval N", command.flush_interval, "flush after so many writes");
  app.add_flag("--no-drain", command.no_drain, "flush while other requests are in flight");
  app.add_option("--pattern BYTE", command.pattern, "byte to write (0)");
  command.common.add_options(app);
  if (const auto done = parse_img_words(app, arguments)) return *done;
  const auto finished = bench_now(command);
  return finished ? 0 : img_fail(finished.error());
}

}  // namespace hull::cli
