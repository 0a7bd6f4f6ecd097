# Connects to all targets side by side, for LIMIT seconds, and prints "TARGET RESULT" for each. Run with -MSocket=:all
# -MFcntl -MErrno. Arguments: LIMIT ADDRESS,PORT...
my ($limit, @targets) = @ARGV;
my %waiting;
for my $target (@targets) {
  my ($host, $port) = split /,/, $target;
  my ($error, $at) = getaddrinfo($host, $port, {flags => AI_NUMERICHOST, socktype => SOCK_STREAM});
  if ($error or not socket(my $socket, $at->{family}, SOCK_STREAM, 0)) { print "$target ", $error || $!, "\n" }
  else {
    fcntl($socket, F_SETFL, fcntl($socket, F_GETFL, 0) | O_NONBLOCK);
    if (connect($socket, $at->{addr})) { print "$target open\n" }
    elsif ($!{EINPROGRESS}) { $waiting{fileno $socket} = [$target, $socket] }
    else { print "$target $!\n" }
  }
}
my $end = time + $limit;
while (%waiting and time < $end) {
  my $bits = "";
  vec($bits, $_, 1) = 1 for keys %waiting;
  select(undef, $bits, undef, 1);
  for my $number (grep { vec($bits, $_, 1) } keys %waiting) {
    my ($target, $socket) = @{delete $waiting{$number}};
    $! = unpack("i", getsockopt($socket, SOL_SOCKET, SO_ERROR));
    print "$target ", $! + 0 ? "$!" : "open", "\n";
  }
}
print "$_->[0] time-out\n" for values %waiting;
