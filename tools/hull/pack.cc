// hull pack and hull unpack: directories on raw disks, as `hull run --in` and `--out` do it, for
// disks that outlive a run.
#include "tools/hull/archive/pack.h"

#include <unistd.h>

#include "base/log.h"
#include "tools/hull/archive/unpack.h"
#include "tools/hull/command_line.h"
#include "tools/hull/exit_code.h"
#include "tools/hull/verbs.h"

namespace hull::cli {

namespace {

Result<void> pack_to_disk(const std::string& directory, const std::string& disk) {
  // Nothing is made where there is nothing to pack.
  TRY(open_file(directory, O_RDONLY | O_DIRECTORY));
  const UniqueFd file = TRY(open_file(disk, O_RDWR | O_CREAT | O_TRUNC, 0666));
  const Packed packed = TRY(pack_directory(directory, file.get()));
  if (packed.left_out != 0)
    LOG_WARN("{}: {} sockets, pipes or devices were left out", directory, packed.left_out);
  return {};
}

Result<void> unpack_from_disk(const std::string& disk, const std::string& directory) {
  const UniqueFd file = TRY(open_file(disk, O_RDONLY));
  const off_t bytes = ::lseek(file.get(), 0, SEEK_END);
  if (bytes < 0) return std::unexpected(Error::from_errno(fmt::format("'{}'", disk)));
  const Unpacked unpacked = TRY(
      unpack_directory(file.get(), static_cast<uint64_t>(bytes), directory, "").with_context(disk));
  for (const std::string& reason : unpacked.reasons) LOG_WARN("{}: {}: left out", disk, reason);
  if (unpacked.left_out != 0)
    return fail(ErrorKind::kInvalidFormat, "{}: {} of the archive's {} entries were left out", disk,
                unpacked.left_out, unpacked.entries);
  if (unpacked.entries == 0)
    return fail(ErrorKind::kInvalidFormat, "{}: holds no tar archive, or an empty one", disk);
  return {};
}

int two_words(CommandLine& app, Arguments arguments, const char* verb, const char* first,
              const char* second,
              Result<void> (*work)(const std::string& from, const std::string& to)) {
  std::string from;
  std::string to;
  app.add_option(first, from, "what is read").required();
  app.add_option(second, to, "what is written").required();
  const auto parsed = app.parse(arguments).with_context(verb);
  if (!parsed) return report(parsed.error());
  if (!*parsed) return kExitOk;
  const Result<void> done = work(from, to).with_context(verb);
  return done ? kExitOk : report(done.error());
}

}  // namespace

int pack_verb(Arguments arguments) {
  CommandLine app("Writes what is in a directory as a tar archive to a raw disk.", "hull pack");
  return two_words(app, arguments, "pack", "DIR", "FILE", pack_to_disk);
}

int unpack_verb(Arguments arguments) {
  CommandLine app("Makes a directory of the tar archive that a guest has written to a raw disk.",
                  "hull unpack");
  return two_words(app, arguments, "unpack", "FILE", "DIR", unpack_from_disk);
}

}  // namespace hull::cli
