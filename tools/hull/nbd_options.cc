#include "tools/hull/nbd_options.h"

#include "blockcore/format_table.h"
#include "blockcore/nbd/listener.h"
#include "tools/hull/command_line.h"
#include "tools/hull/img.h"
#include "tools/hull/img_options.h"

namespace hull::cli {

namespace {

using blockcore::nbd::kDefaultPort;
using blockcore::nbd::kMaxStringBytes;
using blockcore::nbd::Server;

// What the parser fills in, before it means anything.
struct Words {
  std::string file;
  std::optional<std::string> format;
  std::vector<std::string> objects;
  bool image_opts = false;
  std::string cache = "writeback";
  std::string discard = "ignore";
  std::string detect_zeroes = "off";
  std::string aio;
  bool no_cache = false;
  std::optional<uint16_t> port;
};

void describe_options(CommandLine& app, NbdCommand& command, Words& words) {
  app.add_option("FILE", words.file, "the image").required();
  app.add_option("-f,--format raw|qcow2", words.format,
                 "its format: raw (default) or qcow2; never guessed");
  app.add_option("--object secret,id=NAME,file=PATH", words.objects,
                 "secret,id=NAME,file=PATH: the key of an encrypted image; may be repeated");
  app.add_flag("--image-opts", words.image_opts,
               "FILE is node options: driver=qcow2,file.filename=PATH,encrypt.key-secret=NAME");
  app.add_flag("-r,--read-only", command.image.read_only, "clients may not write");
  app.add_flag("-s,--snapshot", command.image.transient,
               "writes go to an overlay that is gone afterwards");
  app.add_option("-k,--socket PATH", command.socket, "path of a unix socket (mode 0600)");
  app.add_option("-p,--port PORT", words.port,
                 "TCP port (default 10809; 0: any, said by --verbose)");
  app.add_option("-b,--bind ADDRESS", command.bind, "address of the TCP port (default 127.0.0.1)");
  app.add_option("-x,--export-name NAME", command.export_name,
                 "name that clients must ask for (default: the empty name)");
  app.add_option("-D,--description TEXT", command.description, "text for people who list exports");
  app.add_option("-e,--shared N", command.clients,
                 "how many clients at once (default 1; 0: as many as can be, 256)");
  app.add_flag("-t,--persistent", command.persistent, "go on when the last client has left");
  app.add_flag("-A,--allocation-depth", command.allocation_depth,
               "offer the metadata context qemu:allocation-depth");
  app.add_option("-B,--bitmap NAME", command.bitmaps,
                 "offer a persistent dirty bitmap as qemu:dirty-bitmap:NAME; may be repeated");
  app.add_option("--cache none|writeback|writethrough|directsync|unsafe", words.cache,
                 "writeback (default), none, writethrough, directsync or unsafe");
  app.add_flag("-n,--nocache", words.no_cache, "the same as --cache=none");
  app.add_option("--discard ignore|unmap", words.discard,
                 "unmap: clients can give space back; ignore (default)");
  app.add_option("--detect-zeroes off|on|unmap", words.detect_zeroes, "off (default), on or unmap");
  app.add_option("--aio io_uring|threads", words.aio,
                 "io_uring or threads (default: the better one)");
  app.add_option("--pid-file FILE", command.pid_file, "holds the process's number while it serves");
  app.add_flag("--fork", command.fork, "return when the server is ready, which goes on by itself");
  app.add_flag("-v,--verbose", command.verbose, "say where it listens; debug messages");
}

template <class T, size_t kCount>
Result<T> choose(const char* option, const std::string& word, const Word<T> (&choices)[kCount]) {
  std::string known;
  for (const Word<T>& choice : choices) {
    if (word == choice.word) return choice.value;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", choice.word);
  }
  return fail(ErrorKind::kUsage, "nbd: {}={}: say one of {}", option, word, known);
}

// Which image, of which format, with which keys.
Result<void> name_image(const Words& words, NbdCommand& command) {
  if (words.image_opts && words.format)
    return fail(ErrorKind::kUsage, "nbd: --image-opts and -f are mutually exclusive");
  const std::string format = words.image_opts ? "" : words.format.value_or("raw");
  const auto parsed = parse_img_name(words.file, format, words.image_opts);
  // What a word says wrongly, a format that is only recognised among it, is a mistake of the
  // command line.
  if (!parsed) return fail(ErrorKind::kUsage, "{}", parsed.error().message());
  const ImgName& name = *parsed;
  if (!name.format)
    return fail(ErrorKind::kUsage, "nbd: --image-opts: say driver=raw or driver=qcow2");
  ImgSecrets secrets;
  for (const std::string& object : words.objects) TRY(secrets.add(object));
  command.image.path = name.path;
  command.image.format = *name.format;
  command.image.keys = TRY(secrets.keys(name.encryption));
  command.image.read_only = command.image.read_only || name.read_only.value_or(false);
  if (name.cache) command.image.cache = *name.cache;
  return {};
}

Result<void> read_image_words(const Words& words, NbdCommand& command) {
  using blockcore::DetectZeroes;
  using blockcore::IoEngineKind;
  static constexpr Word<bool> kDiscards[] = {
      {"ignore", false}, {"off", false}, {"unmap", true}, {"on", true}};
  static constexpr Word<IoEngineKind> kEngines[] = {{"io_uring", IoEngineKind::kUring},
                                                    {"threads", IoEngineKind::kThreads}};
  command.image.cache =
      TRY(choose("--cache", words.no_cache ? "none" : words.cache, kCacheModeWords));
  TRY(name_image(words, command));
  command.image.unmap = TRY(choose("--discard", words.discard, kDiscards));
  command.image.detect_zeroes =
      TRY(choose("--detect-zeroes", words.detect_zeroes, kDetectZeroesWords));
  if (!words.aio.empty()) command.engine = TRY(choose("--aio", words.aio, kEngines));
  if (!command.bitmaps.empty() &&
      (!command.image.read_only || !blockcore::driver_of(command.image.format).has.bitmaps))
    return fail(ErrorKind::kUsage,
                "nbd: --bitmap goes with --read-only and -f qcow2: it shows the bitmap as it is");
  if (command.image.detect_zeroes == DetectZeroes::kUnmap && !command.image.unmap)
    return fail(ErrorKind::kUsage, "nbd: --detect-zeroes=unmap goes with --discard=unmap");
  return {};
}

Result<void> read_address_words(const Words& words, NbdCommand& command) {
  if (!command.socket.empty() && (words.port || !command.bind.empty()))
    return fail(ErrorKind::kUsage, "nbd: --socket goes without --port and --bind");
  command.activated = blockcore::nbd::has_activated_socket();
  if (command.activated && (!command.socket.empty() || words.port || !command.bind.empty()))
    return fail(ErrorKind::kUsage,
                "nbd: a socket was handed over (LISTEN_FDS): no --socket, --port or --bind then");
  if (!command.activated && command.socket.empty() && !words.port && command.bind.empty())
    return fail(ErrorKind::kUsage, "nbd: where to listen: --socket PATH, or --port N");
  command.port = words.port.value_or(kDefaultPort);
  if (command.bind.empty()) command.bind = "127.0.0.1";
  if (command.export_name.size() > kMaxStringBytes || command.description.size() > kMaxStringBytes)
    return fail(ErrorKind::kUsage, "nbd: a name or description has at most {} bytes",
                kMaxStringBytes);
  if (command.clients == 0) command.clients = Server::kMaxConnections;
  if (command.clients > Server::kMaxConnections)
    return fail(ErrorKind::kUsage, "nbd: --shared: at most {} clients", Server::kMaxConnections);
  return {};
}

}  // namespace

Result<NbdCommand> parse_nbd_command(Arguments arguments) {
  NbdCommand command;
  Words words;
  CommandLine app("Serves an image to NBD clients.", "hull nbd");
  describe_options(app, command, words);
  command.help_shown = !TRY(app.parse(arguments).with_context("nbd"));
  if (command.help_shown) return command;
  TRY(read_image_words(words, command));
  TRY(read_address_words(words, command));
  return command;
}

}  // namespace hull::cli
