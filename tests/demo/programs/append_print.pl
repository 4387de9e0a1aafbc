# Append rows with perl's print.
use strict;
use warnings;

my ($path, $me, $rows) = @ARGV;
open(my $file, ">>", $path) or die "$path: $!";
for my $row (0 .. $rows - 1) {
    my $pad = chr(ord("a") + $me) x (10_000 + ($row * 977 + $me * 131) % 10_000);
    print $file "$me $row $pad $row\n" or die "$path: $!";
}
close($file) or die "$path: $!";
