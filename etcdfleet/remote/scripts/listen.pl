# Listens on ports of an address until its input ends, or for LIFE seconds. Run with -MSocket=:all.
# Arguments: LIFE ADDRESS PORT...
my ($life, $host, @ports) = @ARGV;
my @open;
for my $port (@ports) {
  my ($error, $at) = getaddrinfo($host, $port, {flags => AI_NUMERICHOST, socktype => SOCK_STREAM});
  die "$error\n" if $error;
  socket(my $socket, $at->{family}, SOCK_STREAM, 0) or die "$!\n";
  setsockopt($socket, SOL_SOCKET, SO_REUSEADDR, 1);
  (bind($socket, $at->{addr}) and listen($socket, 64)) or die "$port: $!\n";
  push @open, $socket;
}
$| = 1;
print "listens\n";
alarm $life;
1 while <STDIN>;
