#include "tools/hull/run_record.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <climits>
#include <ctime>
#include <nlohmann/json.hpp>

namespace hull::cli {

namespace {

using Json = nlohmann::ordered_json;

constexpr int kVersion = 1;
constexpr std::chrono::milliseconds kTurn{50};  // for another thread's line
constexpr size_t kMaxLine = PIPE_BUF - 64;      // with room for the number of lost ones
constexpr size_t kMaxDetail = 256;              // each byte may become six

const char* reason_word(vmm::EndKind kind) {
  switch (kind) {
    case vmm::EndKind::kPowerOff: return "power-off";
    case vmm::EndKind::kReset: return "reset";
    case vmm::EndKind::kPanic: return "panic";
    case vmm::EndKind::kGuestCrash: return "crash";
    case vmm::EndKind::kDebugExit: return "debug-exit";
    case vmm::EndKind::kForced: return "forced";
    case vmm::EndKind::kTimeout: return "timeout";
    case vmm::EndKind::kHostError: return "host-error";
  }
  return "";
}

// RFC 3339, with milliseconds.
std::string time_text(std::chrono::system_clock::time_point time) {
  const auto since = std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch());
  const std::time_t seconds = since.count() / 1000;
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900,
                     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                     since.count() % 1000);
}

std::string detail_of(const RunRecord& record) {
  if (!record.end) return record.end.error().message();
  return record.end->detail.empty() ? record.job_detail : record.end->detail;
}

Json fields_of(const RunRecord& record) {
  Json json;
  json["version"] = kVersion;
  json["domain"] = record.domain;
  json["reason"] = record.end ? reason_word(record.end->kind) : "error";
  json["detail"] = detail_of(record);
  json["exit_code"] = record.exit_code;
  if (record.end && record.end->kind == vmm::EndKind::kDebugExit)
    json["guest_status"] = record.end->code;
  if (record.guest_status) json["guest_status"] = *record.guest_status;
  json["started"] = time_text(record.started);
  json["ended"] = time_text(record.ended);
  json["seconds"] = std::chrono::duration<double>(record.ended - record.started).count();
  json["resets"] = record.resets;
  return json;
}

// Names of files may be any bytes; JSON is UTF-8.
std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// What is no longer than PIPE_BUF goes into a pipe that is ready as a whole or not at all, and
// never waits.
bool has_room(int fd, size_t bytes) {
  pollfd ready{.fd = fd, .events = POLLOUT, .revents = 0};
  return bytes <= PIPE_BUF && ::poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT) != 0;
}

// A descriptor that whoever started hull has left open: a copy that goes with this process.
Result<UniqueFd> inherited(const std::string& where) {
  int number = -1;
  const char* const end = where.data() + where.size();
  const auto parsed = std::from_chars(where.data() + 3, end, number);
  if (parsed.ec != std::errc() || parsed.ptr != end || number < 0)
    return fail(ErrorKind::kUsage, "{}: fd:N wants the number of a descriptor", where);
  UniqueFd fd(::fcntl(number, F_DUPFD_CLOEXEC, 3));
  const int flags = fd.valid() ? ::fcntl(fd.get(), F_GETFL) : -1;
  if (flags < 0) return fail(ErrorKind::kUsage, "{}: there is no such descriptor", where);
  if ((flags & O_ACCMODE) == O_RDONLY)
    return fail(ErrorKind::kUsage, "{}: nothing can be written to it", where);
  return fd;
}

Result<UniqueFd> connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return fail(ErrorKind::kUsage, "unix:{}: the path of a socket has 1 to {} bytes", path,
                sizeof address.sun_path - 1);
  path.copy(address.sun_path, path.size());
  // A listener that has enough to do must not hold up the start either.
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return std::unexpected(Error::from_errno("socket"));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return std::unexpected(Error::from_errno(fmt::format("connect to '{}'", path)));
  return fd;
}

}  // namespace

std::string to_json(const RunRecord& record) { return dump(fields_of(record)); }

Result<void> ResultPlace::open_now() {
  if (where_.starts_with("fd:")) {
    fd_ = TRY(inherited(where_));
    return {};
  }
  fd_ = TRY(open_file(where_, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_NOCTTY, 0666));
  if (::fcntl(fd_.get(), F_SETFL, O_WRONLY) != 0)
    return std::unexpected(Error::from_errno(fmt::format("fcntl '{}'", where_)));
  return {};
}

Result<ResultPlace> ResultPlace::open(const std::string& where) {
  ResultPlace place(where);
  const Result<void> opened = place.open_now();
  struct stat status{};
  const bool later = !opened && opened.error().error_number() == ENXIO &&
                     ::stat(where.c_str(), &status) == 0 && S_ISFIFO(status.st_mode);
  if (!opened && !later) return std::unexpected(opened.error());
  return place;
}

Result<void> ResultPlace::write(const RunRecord& record) {
  if (!fd_.valid()) TRY(open_now());
  const std::string line = to_json(record) + "\n";
  return write_all(fd_.get(), std::as_bytes(std::span(line)));
}

void ResultPlace::write_without_waiting(const RunRecord& record) {
  if (!fd_.valid() && !open_now()) return;
  const std::string line = to_json(record) + "\n";
  struct stat status{};
  const bool is_file = ::fstat(fd_.get(), &status) == 0 && S_ISREG(status.st_mode);
  if (is_file || has_room(fd_.get(), line.size())) [[maybe_unused]]
    const auto written = write_all(fd_.get(), std::as_bytes(std::span(line)));
}

Result<std::shared_ptr<EventStream>> EventStream::open(const std::string& where) {
  constexpr std::string_view kUnix = "unix:";
  if (!where.starts_with("fd:") && !where.starts_with(kUnix))
    return fail(ErrorKind::kUsage, "{}: say fd:N or unix:PATH", where);
  Result<UniqueFd> opened =
      where.starts_with(kUnix) ? connect_to(where.substr(kUnix.size())) : inherited(where);
  UniqueFd fd = TRY(std::move(opened));
  struct stat status{};
  const bool socket = ::fstat(fd.get(), &status) == 0 && S_ISSOCK(status.st_mode);
  return std::shared_ptr<EventStream>(new EventStream(std::move(fd), socket));
}

nlohmann::ordered_json EventStream::begin(const char* name) const {
  Json json;
  json["version"] = kVersion;
  json["event"] = name;
  json["time"] = time_text(std::chrono::system_clock::now());
  json["domain"] = domain_;
  return json;
}

void EventStream::started(const std::string& console_path,
                          const std::vector<RunNetwork>& networks) {
  Json json = begin("started");
  json["pid"] = ::getpid();
  if (!console_path.empty()) json["console"] = console_path;
  for (const RunNetwork& network : networks) {
    Json one;
    one["mac"] = network.mac;
    if (!network.interface.empty()) one["interface"] = network.interface;
    if (!network.address.empty()) one["address"] = network.address;
    for (const PublishedPort& port : network.published)
      one["published"].push_back({{"protocol", port.udp ? "udp" : "tcp"},
                                  {"host_address", format_ipv4(port.address)},
                                  {"host_port", port.host_port},
                                  {"guest_port", port.guest_port}});
    json["networks"].push_back(std::move(one));
  }
  send(dump(json));
}

void EventStream::event(const char* name) { send(dump(begin(name))); }

void EventStream::io_error(const std::string& disk, const std::string& detail) {
  Json json = begin("io-error");
  json["disk"] = disk;
  json["detail"] = detail.substr(0, kMaxDetail);
  send(dump(json));
}

void EventStream::ended(const RunRecord& record) {
  Json json;
  json["version"] = kVersion;
  json["event"] = "ended";
  json["time"] = time_text(record.ended);
  json.update(fields_of(record));
  std::string line = dump(json);
  if (line.size() > kMaxLine) {  // this event above all shall arrive
    json["detail"] = json["detail"].get<std::string>().substr(0, kMaxDetail) + "...";
    line = dump(json);
  }
  send(std::move(line));
}

void EventStream::send(std::string line) {
  const std::unique_lock alone(sending_, kTurn);
  if (!alone) return;
  if (lost_ != 0) line.insert(line.size() - 1, fmt::format(",\"lost\":{}", lost_));
  line += '\n';
  bool written = has_room(fd_.get(), line.size());
  if (written) {
    const ssize_t sent =
        socket_ ? ::send(fd_.get(), line.data(), line.size(), MSG_DONTWAIT | MSG_NOSIGNAL)
                : ::write(fd_.get(), line.data(), line.size());
    written = sent == static_cast<ssize_t>(line.size());
  }
  lost_ = written ? 0 : lost_ + 1;
}

}  // namespace hull::cli
