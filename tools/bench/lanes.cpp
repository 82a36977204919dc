// Implements lanes.h.
#include "lanes.h"

#include <algorithm>

namespace bench {

void Tally::add(Clock::duration latency) {
  if (!is_measuring) return;
  latencies_us.push_back(std::chrono::duration<float, std::micro>(latency).count());
}

void Tally::fail(const std::string& text) {
  if (failures++ == 0) first_failure = text;
}

float Tally::percentile(double share) {
  if (latencies_us.empty()) return 0;
  const auto rank = static_cast<ptrdiff_t>(share * static_cast<double>(latencies_us.size() - 1));
  std::nth_element(latencies_us.begin(), latencies_us.begin() + rank, latencies_us.end());
  return latencies_us[static_cast<size_t>(rank)];
}

UnaryLane::UnaryLane(grpc::GenericStub& stub, grpc::CompletionQueue& queue, std::string path,
                     grpc::ByteBuffer request, Tally& tally)
    : stub_(stub),
      queue_(queue),
      path_(std::move(path)),
      request_(std::move(request)),
      tally_(tally) {}

void UnaryLane::start() {
  context_.emplace();
  sent_ = Clock::now();
  call_ = stub_.PrepareUnaryCall(&*context_, path_, request_, &queue_);
  call_->StartCall();
  call_->Finish(&response_, &status_, static_cast<Event*>(this));
}

void UnaryLane::done(bool) {
  if (!status_.ok()) return tally_.fail(status_.error_message());
  tally_.add(Clock::now() - sent_);
  start();
}

StreamLane::StreamLane(grpc::GenericStub& stub, grpc::CompletionQueue& queue,
                       const std::string& path, std::optional<grpc::ByteBuffer> opening,
                       grpc::ByteBuffer request, Mode mode, Tally& tally)
    : opening_(std::move(opening)),
      request_(std::move(request)),
      mode_(mode),
      tally_(tally),
      call_(stub.PrepareCall(&context_, path, &queue)) {}

void StreamLane::start() {
  call_->StartCall(static_cast<Event*>(&start_step_));
}

void StreamLane::started(bool is_ok) {
  if (!is_ok) return end();
  if (opening_) {
    write(*opening_);
    return read();
  }
  is_open_ = true;
  proceed();
}

void StreamLane::written(bool is_ok) {
  is_writing_ = false;
  if (!is_ok) return end();
  if (is_open_) ++writes_;
  if (!is_reading_ || mode_ == Mode::kStall) proceed();
}

void StreamLane::received(bool is_ok) {
  is_reading_ = false;
  if (!is_ok) return end();
  if (is_open_) tally_.add(Clock::now() - sent_);
  is_open_ = true;
  if (!is_writing_) proceed();
}

void StreamLane::proceed() {
  if (!is_open_ || is_failed_) return;
  if (mode_ == Mode::kPingPong) send(Clock::now());
  if (mode_ == Mode::kStall && !is_writing_) write(request_);
}

void StreamLane::send(Clock::time_point due) {
  sent_ = due;
  write(request_);
  read();
}

void StreamLane::write(const grpc::ByteBuffer& message) {
  is_writing_ = true;
  call_->Write(message, static_cast<Event*>(&write_step_));
}

void StreamLane::read() {
  is_reading_ = true;
  call_->Read(&response_, static_cast<Event*>(&read_step_));
}

void StreamLane::end() {
  if (is_failed_) return;
  is_failed_ = true;
  call_->Finish(&status_, static_cast<Event*>(&finish_step_));
}

void StreamLane::finished(bool) {
  tally_.fail(status_.ok() ? "the stream ended" : status_.error_message());
}

}  // namespace bench
