# fish completion for hull; see hull.bash.
complete -c hull -a '(hull complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
