#include "devices/console/console_backend.h"

#include <utility>

#include "base/log.h"

namespace hull::devices {

size_t ConsoleBackend::write(std::span<const uint8_t> data) {
  return writer_ ? writer_->write(data) : data.size();
}

void ConsoleBackend::resume_input() {
  if (reader_) reader_->resume();
}

void ConsoleBackend::start_reader(NonBlockingFd fd) {
  reader_.emplace(loop_, std::move(fd), static_cast<FdReader::Owner&>(*this));
}

void ConsoleBackend::start_writer(NonBlockingFd fd) {
  writer_.emplace(loop_, std::move(fd), static_cast<FdWriter::Owner&>(*this));
}

void ConsoleBackend::on_output_end(int error) {
  LOG_WARN("console: {}; the virtual machine goes on without this output",
           Error::from_errno("output", error).message());
  writer_.reset();
  frontend_.on_output_possible();  // by dropping it
}

void ConsoleBackend::on_output_lost(int error) {
  if (std::exchange(loss_reported_, true)) return;
  LOG_WARN("console: {}; output is lost", Error::from_errno("output", error).message());
}

}  // namespace hull::devices
