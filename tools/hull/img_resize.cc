// hull img resize [-f FMT] [--preallocation=MODE] [--shrink] [-q] FILE [+|-]SIZE

#include "blockcore/image/resize.h"
#include "tools/hull/command_line.h"
#include "tools/hull/img.h"
#include "tools/hull/img_options.h"

namespace hull::cli {
namespace {

using blockcore::Preallocation;

struct ResizeCommand {
  ImgCommon common;
  std::string file;
  std::string format;
  std::string size;
  std::string preallocation = "off";
  bool shrink = false;
};

Result<Preallocation> parse_mode(const std::string& name) {
  if (name == "off") return Preallocation::kOff;
  if (name == "metadata") return Preallocation::kMetadata;
  if (name == "falloc") return Preallocation::kFalloc;
  if (name == "full") return Preallocation::kFull;
  return fail(ErrorKind::kUsage, "Invalid preallocation mode '{}'", name);
}

Result<uint64_t> choose_size(const ResizeCommand& command, uint64_t amount, uint64_t current) {
  uint64_t size = amount;
  if (command.size.front() == '+') size = current + amount;
  if (command.size.front() == '-') size = amount < current ? current - amount : 0;
  if (size == 0) return fail(ErrorKind::kUsage, "New image size must be positive");
  if (size <= current && command.preallocation != "off")
    return fail(ErrorKind::kUsage, "Preallocation can only be used for growing images");
  if (size < current && !command.shrink)
    return fail_lines(
        ErrorKind::kUsage, "Use the --shrink option to perform a shrink operation.",
        "warning: Shrinking an image will delete all data beyond the shrunken image's end. "
        "Before performing such an operation, make sure there is no important data there.");
  return size;
}

Result<void> resize_now(ResizeCommand& command) {
  TRY(command.common.finish());
  const bool relative = command.size.starts_with('+') || command.size.starts_with('-');
  const uint64_t amount = TRY(parse_img_size(command.size.substr(relative ? 1 : 0)));
  const ImgName name = TRY(parse_img_name(command.file, command.format, command.common.image_opts));
  blockcore::ResizeImageOptions options{.path = name.path, .format = name.format};
  options.cache = name.cache.value_or(options.cache);
  options.keys = TRY(command.common.secrets.keys(name.encryption));
  options.preallocation = TRY(parse_mode(command.preallocation));
  options.new_size = [&command, amount](uint64_t current) {
    return choose_size(command, amount, current);
  };
  const auto engine = TRY(blockcore::IoEngine::create(blockcore::IoEngineKind::kThreads));
  (void)TRY(engine->run_until_done(blockcore::resize_image(*engine, std::move(options))));
  return {};
}

}  // namespace

int img_resize(Arguments arguments) {
  ResizeCommand command;
  CommandLine app("Gives an image another size: SIZE, or so much more (+) or less (-).",
                  "hull img resize");
  app.add_option("FILE", command.file, "the image").required();
  app.add_option("-f raw|qcow2", command.format, "its format: raw or qcow2; looks if absent");
  app.add_option("--preallocation off|metadata|falloc|full", command.preallocation,
                 "of what is added: off, metadata, falloc or full");
  app.add_flag("--shrink", command.shrink, "make it smaller: what is past the new end is lost");
  command.common.add_options(app);
  // The size comes last and may look like an option.
  const bool has_size = arguments.size() >= 2 && std::string_view(arguments.back()) != "--help" &&
                        std::string_view(arguments.back()) != "-h";
  if (has_size) {
    command.size = arguments.back();
    arguments = arguments.first(arguments.size() - 1);
  }
  if (const auto done = parse_img_words(app, arguments)) return *done;
  if (command.size.empty()) return img_fail(with_hint({"Expecting image file name and size"}));
  if (const auto resized = resize_now(command); !resized) return img_fail(resized.error());
  if (!command.common.quiet) fmt::print("Image resized.\n");
  return 0;
}

}  // namespace hull::cli
