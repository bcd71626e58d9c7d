// hull img create [-q] [-u] [-f FMT] [-b BASE -F FMT] [-o OPTIONS] FILE [SIZE]

#include "base/text.h"
#include "blockcore/format_table.h"
#include "blockcore/image/create.h"
#include "tools/hull/command_line.h"
#include "tools/hull/img.h"
#include "tools/hull/img_create_options.h"

namespace hull::cli {
namespace {

using blockcore::CreateImageOptions;

struct CreateCommand {
  std::string path;
  std::string size;
  std::string format = "raw";
  std::optional<std::string> backing;
  std::string backing_format;
  std::vector<std::string> options;
  bool quiet = false;
  bool unsafe = false;
  std::vector<std::string> objects;
};

Result<CreateImageOptions> read_command(const CreateCommand& command) {
  if (command.path.empty()) return fail(ErrorKind::kUsage, "Expecting image file name");
  CreateImageOptions create;
  create.path = TRY(parse_img_path(command.path));
  create.format = TRY(parse_img_format(command.path, command.format));
  create.open_backing = !command.unsafe;
  ImgSecrets secrets;
  for (const std::string& object : command.objects) TRY(secrets.add(object));
  TRY(set_create_options(command.options, create, secrets));
  if (!command.size.empty()) {
    if (create.size_bytes)
      return fail(ErrorKind::kUsage, "{}: The image size must be specified only once",
                  command.path);
    create.size_bytes = TRY(parse_img_size(command.size));
  }
  if (command.backing) {
    if (command.backing->empty())
      return fail(ErrorKind::kUsage, "{}: Expected backing file name, got empty string",
                  command.path);
    create.qcow2.backing_name = *command.backing;
  }
  if (!command.backing_format.empty()) create.qcow2.backing_format = command.backing_format;
  TRY(check_backing_words(create));
  if (!create.qcow2.backing_name.empty() && !blockcore::driver_of(create.format).has.backing)
    return fail(ErrorKind::kUsage, "{}: Backing file not supported for file format '{}'",
                command.path, img_format_name(create.format));
  if (!create.qcow2.backing_name.empty() && create.qcow2.backing_format.empty())
    return fail_lines(
        ErrorKind::kUsage,
        fmt::format("{}: Backing file specified without backing format", command.path),
        "Say it with -F: hull never guesses a format");
  return create;
}

Result<uint64_t> create_now(const CreateImageOptions& create) {
  const auto engine = TRY(blockcore::IoEngine::create(blockcore::IoEngineKind::kThreads));
  return engine->run_until_done(blockcore::create_image(*engine, create));
}

}  // namespace

int img_create(Arguments arguments) {
  CreateCommand command;
  CommandLine app("Makes a new image, or an overlay over BASE.", "hull img create");
  app.add_option("FILE", command.path, "the new image; an existing file is overwritten");
  app.add_option("SIZE", command.size, "of the disk, with suffix k, M, G, T, P or E; that of BASE");
  app.add_option("-f raw|qcow2", command.format, "format of FILE: raw (default) or qcow2");
  app.add_option("-b FILE", command.backing,
                 "BASE, relative to FILE: clusters that FILE does not have");
  app.add_option("-F raw|qcow2", command.backing_format, "format of BASE: raw or qcow2");
  app.add_option("-o KEY=VALUE,...", command.options,
                 "KEY=VALUE,…: size, preallocation=off|metadata|falloc|full; for qcow2 "
                 "cluster_size, lazy_refcounts, refcount_bits, compat=0.10|1.1, "
                 "compression_type=zlib|zstd, extended_l2, data_file, data_file_raw, "
                 "backing_file, backing_fmt");
  app.add_option("--object secret,id=NAME,file=PATH", command.objects,
                 "secret,id=NAME,file=PATH: the key of encryption");
  app.add_flag("-q", command.quiet, "print nothing");
  app.add_flag("-u", command.unsafe, "do not open BASE");
  if (const auto done = parse_img_words(app, arguments)) return *done;
  if (wants_option_list(command.options)) return print_create_options(command.format);
  const auto create = read_command(command);
  if (!create) return img_fail(create.error());
  const auto size_bytes = create_now(*create);
  if (!size_bytes) return img_fail(size_bytes.error());
  if (!command.quiet)
    fmt::print("Formatting '{}', {}\n", printable(command.path),
               printable(describe_create(*create, create->size_bytes.value_or(*size_bytes))));
  return 0;
}

}  // namespace hull::cli
