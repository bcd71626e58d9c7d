// hull img measure [-O FMT] [-o OPTIONS] [--output=human|json] [--size=N | [-f FMT] FILE]

#include "base/checked.h"
#include "blockcore/image/measure.h"
#include "tools/hull/command_line.h"
#include "tools/hull/img.h"
#include "tools/hull/img_create_options.h"
#include "tools/hull/img_open.h"

namespace hull::cli {
namespace {

using blockcore::CreateImageOptions;
using blockcore::ImageMeasure;
using blockcore::IoEngine;

struct MeasureCommand {
  ImgCommon common;
  std::string file;
  std::string format;
  std::string output_format = "raw";
  std::vector<std::string> options;
  std::string size;
  std::optional<std::string> snapshot;
  std::string output = "human";
};

Result<ImageMeasure> measure_now(MeasureCommand& command) {
  TRY(command.common.finish());
  if (command.file.empty() && command.size.empty())
    return fail(ErrorKind::kUsage, "Either --size N or one filename must be specified.");
  if (!command.file.empty() && !command.size.empty())
    return fail(ErrorKind::kUsage, "--size N cannot be used together with a filename.");
  CreateImageOptions create;
  create.path = "measure";
  create.format = TRY(parse_img_format(create.path, command.output_format));
  TRY(set_create_options(command.options, create, command.common.secrets));
  TRY(blockcore::check_create_options(create.qcow2));
  if (command.file.empty())
    return blockcore::measure_image(create, TRY(parse_img_size(command.size)));
  const ImgName name = TRY(parse_img_name(command.file, command.format, command.common.image_opts));
  const auto engine = TRY(IoEngine::create(blockcore::IoEngineKind::kThreads));
  ImgOpen how{.shares_raw = true};
  if (command.snapshot) how.snapshot = TRY(parse_img_snapshot(*command.snapshot));
  const ImgDisk image = TRY(open_img(*engine, command.common, name, how));
  return engine->run_until_done(blockcore::measure_copy(create, *image.disk, image.qcow2));
}

void print(const ImageMeasure& measure, bool json) {
  if (!json) {
    fmt::print("required size: {}\nfully allocated size: {}\n", measure.required_bytes,
               measure.fully_allocated_bytes);
    if (measure.bitmap_bytes) fmt::print("bitmaps size: {}\n", *measure.bitmap_bytes);
    return;
  }
  fmt::print("{{\n");
  if (measure.bitmap_bytes) fmt::print("    \"bitmaps\": {},\n", *measure.bitmap_bytes);
  fmt::print("    \"required\": {},\n    \"fully-allocated\": {}\n}}\n", measure.required_bytes,
             measure.fully_allocated_bytes);
}

}  // namespace

int img_measure(Arguments arguments) {
  MeasureCommand command;
  CommandLine app("Says how large a new image of the contents of FILE, or of a size, would be.",
                  "hull img measure");
  app.add_option("FILE", command.file, "the image that would be converted");
  app.add_option("-f raw|qcow2", command.format, "its format: raw or qcow2; looks if absent");
  app.add_option("-O raw|qcow2", command.output_format,
                 "format of the new image: raw (default) or qcow2");
  app.add_option("-l SNAPSHOT", command.snapshot, "of FILE at this snapshot, as for convert");
  app.add_option("-o KEY=VALUE,...", command.options,
                 "KEY=VALUE,…: options of the new image, as for create");
  app.add_option("-s,--size SIZE", command.size, "size of the disk, in place of FILE");
  app.add_option("--output", command.output, "human (default) or json").one_of({"human", "json"});
  command.common.add_options(app);
  if (const auto done = parse_img_words(app, arguments)) return *done;
  const auto measured = measure_now(command);
  if (!measured) return img_fail(measured.error());
  print(*measured, command.output == "json");
  return 0;
}

}  // namespace hull::cli
