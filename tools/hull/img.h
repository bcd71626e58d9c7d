// hull img: making, describing, checking and copying disk images, with the options, the words and
// the exit codes of qemu-img 7.2 (docs/man/hull-img.1 lists the few differences). img.cc chooses
// the verb; each has a file.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "blockcore/image/info.h"
#include "blockcore/open.h"
#include "tools/hull/verbs.h"

namespace hull::blockcore {
struct DiskContents;
}

namespace hull::cli {

class CommandLine;

inline constexpr int kImgFailed = 1;
inline constexpr int kImgCorrupt = 2;   // check: the image has errors
inline constexpr int kImgLeaks = 3;     // check: it has leaks and no errors
inline constexpr int kImgNoCheck = 63;  // check: the format has nothing to check

int img_create(Arguments arguments);
int img_info(Arguments arguments);
int img_check(Arguments arguments);
int img_resize(Arguments arguments);
int img_rebase(Arguments arguments);
int img_commit(Arguments arguments);
int img_map(Arguments arguments);
int img_snapshot(Arguments arguments);
int img_bitmap(Arguments arguments);
int img_amend(Arguments arguments);
int img_compact(Arguments arguments);
int img_compare(Arguments arguments);
int img_measure(Arguments arguments);
int img_convert(Arguments arguments);
int img_dd(Arguments arguments);
int img_bench(Arguments arguments);

// The names of the program under which it has these verbs alone. Under the latter --version begins
// as qemu-img's does, with the version that it is like.
inline constexpr std::string_view kImgName = "hull-img";
inline constexpr std::string_view kQemuName = "qemu-img";
// The program under one of them, which is what its messages begin with.
int img_program(std::string_view name, Arguments arguments);

// "hull img: …" on stderr; returns kImgFailed.
int img_fail(const Error& error);

// A mistake of the command line, and the command that helps, a line each.
Error with_hint(std::vector<std::string> lines);

// "hull img: warning: …" on stderr.
void img_warn(const std::string& message);

// Reads the words; the exit code if that is all there is to do (--help, a mistake).
std::optional<int> parse_img_words(CommandLine& app, Arguments arguments);

Result<blockcore::DiskFormat> parse_img_format(const std::string& path, const std::string& name);
std::string_view img_format_name(blockcore::DiskFormat format);

// "1.5G", " +0x100": what strtol() takes for a number, or a decimal fraction, with an optional
// suffix b, k, M, G, T, P or E of powers of 1024; below 2^63.
Result<uint64_t> parse_img_size(const std::string& text);

// "Snapshot list:" and a line for each; nothing if there are none.
std::string snapshot_list_text(const std::vector<blockcore::qcow2::Snapshot>& snapshots);

// Three significant digits and the largest unit that leaves less than 1000 of it: "1.5 GiB".
std::string human_bytes(uint64_t bytes);

// The two forms of `info`, each with its final newline; the second is a JSON value. `contents`:
// what was found on the first image's disk; nullptr: nobody looked.
std::string info_text(const blockcore::ImageInfo& info);
std::string info_json(const std::vector<blockcore::ImageInfo>& chain, bool as_list,
                      const blockcore::DiskContents* contents);

}  // namespace hull::cli
