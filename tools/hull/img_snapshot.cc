// hull img snapshot [-l | -c NAME | -a SNAPSHOT | -d NAME] [-q] [-U] FILE
#include <sys/time.h>

#include "blockcore/image/single_image.h"
#include "blockcore/qcow2/edit/snapshots.h"
#include "tools/hull/command_line.h"
#include "tools/hull/img.h"
#include "tools/hull/img_options.h"

namespace hull::cli {
namespace {

using namespace blockcore;
using qcow2::Snapshot;

enum class Action : uint8_t { kNone, kList, kCreate, kApply, kDelete };

// qemu-img cuts names there as well.
constexpr size_t kMaxNameBytes = 255;

struct SnapshotCommand {
  ImgCommon common;
  std::string file;
  Action action = Action::kNone;
  std::string snapshot;
};

const char* action_verb(Action action) {
  if (action == Action::kCreate) return "create";
  return action == Action::kApply ? "apply" : "delete";
}

Task<Result<void>> create_now(Qcow2Disk& disk, std::string name) {
  Snapshot snapshot{.name = name.substr(0, kMaxNameBytes)};
  timeval now{};
  gettimeofday(&now, nullptr);
  snapshot.date_seconds = static_cast<uint32_t>(now.tv_sec);
  snapshot.date_nanoseconds = static_cast<uint32_t>(now.tv_usec * 1000);
  snapshot.instruction_count = 0;
  co_return co_await create_snapshot(disk.parts(), std::move(snapshot), qcow2::kSnapshotAtOnce);
}

Task<Result<void>> apply_now(Qcow2Disk& disk, std::string which) {
  CO_TRY(const std::vector<Snapshot> all, co_await list_snapshots(disk.parts()));
  std::optional<size_t> index = find_snapshot_by_id(all, which);
  if (!index) index = find_snapshot_by_name(all, which);
  if (!index)
    co_return fail(ErrorKind::kInvalidConfig, "Failed to load snapshot: No such file or directory");
  co_return co_await apply_snapshot(disk.parts(), *index);
}

Task<Result<void>> delete_now(Qcow2Disk& disk, std::string name) {
  CO_TRY(const std::vector<Snapshot> all, co_await list_snapshots(disk.parts()));
  const std::optional<size_t> index = find_snapshot_by_name(all, name);
  if (!index) co_return fail(ErrorKind::kInvalidConfig, "snapshot not found");
  co_return co_await delete_snapshot(disk.parts(), *index, qcow2::kSnapshotAtOnce);
}

Task<Result<void>> change_now(Qcow2Disk& disk, const SnapshotCommand& command) {
  Result<void> done;
  if (command.action == Action::kCreate) {
    done = co_await create_now(disk, command.snapshot);
  } else if (command.action == Action::kApply) {
    done = co_await apply_now(disk, command.snapshot);
  } else {
    done = co_await delete_now(disk, command.snapshot);
  }
  auto closed = co_await disk.close();
  co_return done ? std::move(closed) : std::move(done);
}

Task<Result<void>> list_now(Qcow2Disk& disk) {
  CO_TRY(const std::vector<Snapshot> all, co_await list_snapshots(disk.parts()));
  fmt::print("{}", snapshot_list_text(all));
  co_return {};
}

// What a format without snapshots answers.
Result<void> answer_raw(Action action) {
  if (action == Action::kCreate)
    return fail(ErrorKind::kUnsupported, "-95 (Operation not supported)");
  if (action == Action::kApply)
    return fail(ErrorKind::kUnsupported, "Block driver does not support snapshots");
  if (action == Action::kDelete) return fail(ErrorKind::kInvalidConfig, "snapshot not found");
  return {};
}

Result<void> snapshot_now(SnapshotCommand& command) {
  TRY(command.common.finish());
  const ImgName name = TRY(parse_img_name(command.file, "", command.common.image_opts));
  const bool changes = command.action > Action::kList;
  if (changes && command.common.force_share)
    return fail(ErrorKind::kUsage, "{}: -U is for images that are only read", name.path);
  const auto engine = TRY(IoEngine::create(IoEngineKind::kThreads));
  auto opened = engine->run_until_done(
      open_single_qcow2(*engine, {.path = name.path,
                                  .format = name.format,
                                  .cache = name.cache.value_or(CacheMode::kWriteback),
                                  .read_only = !changes,
                                  .lock = !command.common.force_share}));
  const bool is_raw = !opened && opened.error().kind() == ErrorKind::kUnsupported;
  if (!opened && !is_raw) return std::unexpected(std::move(opened).error());
  if (!changes) {
    if (is_raw || command.action == Action::kNone) return {};
    return engine->run_until_done(list_now(**opened));
  }
  const std::string context =
      fmt::format("Could not {} snapshot '{}'", action_verb(command.action), command.snapshot);
  if (is_raw) return answer_raw(command.action).with_context(context);
  return engine->run_until_done(change_now(**opened, command)).with_context(context);
}

}  // namespace

int img_snapshot(Arguments arguments) {
  SnapshotCommand command;
  CommandLine app("Lists, makes, goes back to and deletes the snapshots inside an image.",
                  "hull img snapshot");
  app.add_option("FILE", command.file, "the image").required();
  bool list = false;
  app.add_flag("-l", list, "list the snapshots");
  const std::pair<CommandOption, Action> actions[] = {
      {app.add_option("-c NAME", command.snapshot, "make one of this name"), Action::kCreate},
      {app.add_option("-a NAME", command.snapshot, "go back to the one of this id or name"),
       Action::kApply},
      {app.add_option("-d NAME", command.snapshot, "delete the one of this name"),
       Action::kDelete}};
  command.common.add_options(app);
  if (const auto done = parse_img_words(app, arguments)) return *done;
  if (list) command.action = Action::kList;
  for (const auto& [option, action] : actions) {
    if (option.count() == 0) continue;
    if (command.action != Action::kNone)
      return img_fail(with_hint({"Cannot mix '-l', '-a', '-c', '-d'"}));
    command.action = action;
  }
  const auto done = snapshot_now(command);
  return done ? 0 : img_fail(done.error());
}

}  // namespace hull::cli
