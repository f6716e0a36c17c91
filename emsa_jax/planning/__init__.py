"""What a run needs of devices, by arithmetic and by what compilers say, before it is started."""
