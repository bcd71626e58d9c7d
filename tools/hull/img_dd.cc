// hull img dd [-f FMT] [-O FMT] [bs=BYTES] [count=BLOCKS] [skip=BLOCKS] if=INPUT of=OUTPUT

#include "base/checked.h"
#include "tools/hull/command_line.h"
#include "tools/hull/img.h"
#include "tools/hull/img_copy.h"
#include "tools/hull/suboptions.h"

namespace hull::cli {
namespace {

using blockcore::CacheMode;

constexpr uint64_t kDefaultBlockBytes = 512;
constexpr uint64_t kMaxBlockBytes = 0x7fffffff;

struct DdCommand {
  ImgCommon common;
  std::vector<std::string> operands;
  std::string format;
  std::string output_format = "raw";
};

struct Operands {
  std::string input;
  std::string output;
  uint64_t block_bytes = kDefaultBlockBytes;
  uint64_t count = UINT64_MAX;
  uint64_t skip = 0;
};

Result<Operands> read_operands(const std::vector<std::string>& words) {
  Operands operands;
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    const std::string key = word.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
    if (equals == std::string::npos)
      return fail(ErrorKind::kUsage, "unrecognized operand {}", word);
    if (key == "if") {
      operands.input = value;
    } else if (key == "of") {
      operands.output = value;
    } else if (key == "bs" || key == "count" || key == "skip") {
      const auto number = parse_img_size(value);
      if (!number || (key == "bs" && (*number == 0 || *number > kMaxBlockBytes)))
        return fail(ErrorKind::kUsage, "invalid number: '{}'", value);
      (key == "bs"      ? operands.block_bytes
       : key == "count" ? operands.count
                        : operands.skip) = *number;
    } else {
      return fail(ErrorKind::kUsage, "unrecognized operand {}", word);
    }
  }
  if (operands.input.empty() || operands.output.empty())
    return fail(ErrorKind::kUsage, "Must specify both input and output file names");
  return operands;
}

// A product that does not fit is past the end of any disk.
uint64_t blocks(uint64_t count, uint64_t block_bytes) {
  return checked_multiply(count, block_bytes).value_or(UINT64_MAX);
}

Result<void> dd_now(DdCommand& command) {
  TRY(command.common.finish());
  const Operands operands = TRY(read_operands(command.operands));
  blockcore::CreateImageOptions create;
  create.path = TRY(parse_img_path(operands.output));
  create.format = TRY(parse_img_format(create.path, command.output_format));
  const ImgName name =
      TRY(parse_img_name(operands.input, command.format, command.common.image_opts));
  const auto engine = TRY(make_copy_engine(CacheMode::kWriteback, CacheMode::kWriteback));
  const auto workers = TRY(make_copy_workers(*engine));
  const ImgDisk source =
      TRY(open_img(*engine, command.common, name, {.shares_raw = true, .workers = workers.get()}));
  const uint64_t size = source.disk->size_bytes();
  blockcore::CopyOptions copy;
  copy.source_offset = std::min(size, blocks(operands.skip, operands.block_bytes));
  copy.length = std::min(size - copy.source_offset, blocks(operands.count, operands.block_bytes));
  if (copy.source_offset < blocks(operands.skip, operands.block_bytes))
    img_warn(fmt::format("{}: cannot skip to specified offset", operands.input));
  create.size_bytes = copy.length;
  create.keep_off =
      engine->run_until_done(blockcore::chain_files(*engine, name.path, source.format));
  const ImgTarget target =
      TRY(make_img_target(*engine, command.common, create, CacheMode::kWriteback));
  suit_target(target, copy);
  TRY(engine->run_until_done(blockcore::copy_disk(*source.disk, *target.image.disk, copy)));
  TRY(engine->run_until_done(target.image.disk->close()));
  return engine->run_until_done(source.disk->close());
}

}  // namespace

int img_dd(Arguments arguments) {
  DdCommand command;
  CommandLine app("Copies a part of an image into a new one.", "hull img dd");
  app.add_option("if=FILE|of=FILE|bs=SIZE|count=N|skip=N", command.operands,
                 "from where to where; bs is 512 if nothing is said")
      .required();
  app.add_option("-f raw|qcow2", command.format, "format of INPUT: raw or qcow2; looks if absent");
  app.add_option("-O raw|qcow2", command.output_format, "format of OUTPUT: raw (default) or qcow2");
  command.common.add_options(app);
  if (const auto done = parse_img_words(app, arguments)) return *done;
  const auto copied = dd_now(command);
  return copied ? 0 : img_fail(copied.error());
}

}  // namespace hull::cli
